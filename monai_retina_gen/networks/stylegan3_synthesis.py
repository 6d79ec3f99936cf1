"""Synthesis network of StyleGAN3: from styles to the image.

Source: Karras et al., "Alias-Free Generative Adversarial Networks", arXiv:2106.12423.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_retina_gen.networks.equalized_linear import EqualizedLinear
from monai_retina_gen.networks.filtered_leaky_relu import FilteredLeakyReLU
from monai_retina_gen.networks.modulated_conv import demodulation, modulated_conv2d
from monai_retina_gen.networks.stylegan3_input import FourierInput
from monai_retina_gen.networks.stylegan3_schedule import LayerPlan, plan_layers
from monai_retina_gen.networks.stylegan3_style_space import StyleSpace

__all__ = ["StyleGAN3Layer", "StyleGAN3Synthesis"]

OUTPUT_SCALE = 0.25
"""Keeps an untrained network's images within [-1, 1]."""


class StyleGAN3Layer(nn.Module):
    """Modulated convolution, bias and filtered leaky ReLU; or toRGB, which has no demodulation and no filters.

    Args:
        plan: sizes and filters.
        w_dim: size of w.
        conv_clamp: limit of the absolute values of the output; `None` for no limit.
        magnitude_beta: decay of the running mean square of the input.
        amp: `None`, "conv" (bfloat16 convolution) or "full" (bfloat16 maps as well).

    Shape:
        - x: `(B, I, H, H)`; style: `(B, I)`; output: `(B, O, H', H')`.
    """

    magnitude_ema: Tensor

    def __init__(
        self, *, plan: LayerPlan, w_dim: int, conv_clamp: float | None, magnitude_beta: float, amp: str | None
    ) -> None:
        super().__init__()
        self.plan, self.magnitude_beta = plan, magnitude_beta
        self.clamp, self.amp = conv_clamp, amp
        channels = plan.source.channels
        self.affine = EqualizedLinear(in_features=w_dim, out_features=channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(plan.target.channels, channels, plan.kernel_size, plan.kernel_size))
        self.bias = nn.Parameter(torch.zeros(plan.target.channels))
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.activation: FilteredLeakyReLU | None = None
        up_filter, down_filter = plan.filters()
        if up_filter is not None and down_filter is not None:
            self.activation = FilteredLeakyReLU(
                input_size=plan.source.size + plan.kernel_size - 1,
                up_filter=up_filter,
                down_filter=down_filter,
                up=plan.up,
                down=plan.down,
                padding=plan.padding,
                clamp=conv_clamp,
            )

    def forward(self, x: Tensor, style: Tensor, *, update_averages: bool = False) -> Tensor:
        if update_averages and self.training:
            with torch.no_grad():
                self.magnitude_ema.lerp_(x.float().square().mean().to(self.magnitude_ema), 1 - self.magnitude_beta)
        gain = self.magnitude_ema.rsqrt()
        if self.activation is None:
            return self._to_rgb(x.to(style.dtype), style * gain / math.sqrt(self.plan.source.channels))
        style, factor = demodulation(self.weight, style)
        x = modulated_conv2d(x, self.weight, style * gain, padding=self.plan.kernel_size - 1, amp=self.amp is not None)
        dtype = torch.bfloat16 if self.amp == "full" else style.dtype
        return self.activation(x, factor.to(dtype), self.bias.to(dtype))

    def _to_rgb(self, x: Tensor, style: Tensor) -> Tensor:
        x = modulated_conv2d(x, self.weight, style) + self.bias[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class StyleGAN3Synthesis(nn.Module):
    """From the styles of the input and of each layer to the image.

    The style list has 16 entries: the input layer's (4 channels), those of layers 0 to 13 and toRGB's. A layer index
    counts in this list: 0 is the input, 15 toRGB.

    Args: see `StyleGAN3`.

    Shape:
        - ws: `(B, 16, w_dim)`; output: `(B, 3, image_size, image_size)`, unclamped, -1..1 by convention.
    """

    def __init__(
        self,
        *,
        image_size: int,
        config: str,
        w_dim: int,
        channel_base: int,
        channel_max: int,
        conv_clamp: float | None,
        magnitude_beta: float,
        amp: str | None,
    ) -> None:
        super().__init__()
        if amp not in (None, "conv", "full"):
            raise ValueError(f"amp must be None, 'conv' or 'full', got {amp!r}")
        plans = plan_layers(image_size=image_size, config=config, channel_base=channel_base, channel_max=channel_max)
        self.input = FourierInput(signal=plans[0].source, w_dim=w_dim)
        self.layers = nn.ModuleList()
        for plan in plans:
            # The first layers carry the position of everything: they and the image stay in float32.
            own_amp = amp if plan.target.sampling_rate * 16 > image_size and not plan.to_rgb else None
            layer = StyleGAN3Layer(
                plan=plan, w_dim=w_dim, conv_clamp=conv_clamp, magnitude_beta=magnitude_beta, amp=own_amp
            )
            self.layers.append(layer)
        self.num_ws = len(plans) + 1
        names = ["input", *(f"L{i}" for i in range(len(plans) - 1)), "rgb"]
        self.style_space = StyleSpace(names=names, widths=[4, *(plan.source.channels for plan in plans)])

    def styles(self, ws: Tensor) -> list[Tensor]:
        """Styles `(B, channels)` of the input and of each layer for `(B, 16, w_dim)`; toRGB's before its gain."""
        if ws.ndim != 3 or ws.shape[1] != self.num_ws:
            raise ValueError(f"ws must be (B, {self.num_ws}, w_dim), got {tuple(ws.shape)}")
        return [layer.affine(w) for layer, w in zip([self.input, *self.layers], ws.unbind(1), strict=True)]

    def run(
        self,
        styles: Sequence[Tensor],
        *,
        start_layer: int = 0,
        features: Tensor | None = None,
        stop_layer: int | None = None,
        transform: Tensor | None = None,
        update_averages: bool = False,
    ) -> Tensor:
        """Run the layers from `start_layer` up to, but not including, `stop_layer`.

        Args:
            styles: the whole style list; those of layers that do not run are not read.
            start_layer: first layer to run.
            features: output of layer `start_layer - 1`, from an earlier call with `stop_layer=start_layer`.
            stop_layer: `None` runs to the end and gives the image.
            transform: see `FourierInput`.
            update_averages: in training mode, update the running magnitudes.

        Raises:
            ValueError: if the layers are out of order, or features lack or are given in vain.
        """
        self.style_space.check(styles)
        stop = self.num_ws if stop_layer is None else stop_layer
        if not 0 <= start_layer < stop <= self.num_ws:
            raise ValueError(f"need 0 <= start_layer < stop_layer <= {self.num_ws}, got {start_layer} and {stop_layer}")
        if (features is None) != (start_layer == 0):
            raise ValueError(
                f"features must be the output of layer {start_layer - 1}, got None"
                if start_layer
                else "features come before start_layer, and before the input layer there are none: pass features=None"
            )
        x = self.input(styles[0], transform) if features is None else features
        for layer, style in list(zip(self.layers, styles[1:], strict=True))[max(start_layer - 1, 0) : stop - 1]:
            x = layer(x, style, update_averages=update_averages)
        return x * OUTPUT_SCALE if stop == self.num_ws else x

    def forward(self, ws: Tensor, *, transform: Tensor | None = None, update_averages: bool = False) -> Tensor:
        return self.run(self.styles(ws), transform=transform, update_averages=update_averages)
