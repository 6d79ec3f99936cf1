"""Synthesis network of StyleGAN3, from styles to the image: Fourier features, modulated layers, toRGB.

Source: Karras et al., "Alias-Free Generative Adversarial Networks", arXiv:2106.12423, sections 3.2 and F.1; modulated
convolution after arXiv:1912.04958, section 2.2. Scaling a kernel's input channels is scaling the input, and
demodulation is a factor for each output channel: so one kernel serves the whole batch, and no kernel for each sample is
ever made.
"""

import math

import torch
from torch import Tensor, nn

from monai_retina_gen.networks.equalized_linear import EqualizedLinear
from monai_retina_gen.networks.filtered_leaky_relu import FilteredLeakyReLU
from monai_retina_gen.networks.stylegan3_schedule import LayerPlan, Signal, plan_layers
from monai_retina_gen.networks.stylegan3_style_space import StyleSpace

__all__ = ["FourierInput", "StyleGAN3Layer", "StyleGAN3Synthesis", "demodulation", "modulated_conv2d"]

OUTPUT_SCALE = 0.25
"""Keeps an untrained network's images within [-1, 1]."""
_PART_ELEMENTS = 2**25


class FourierInput(nn.Module):
    """Sines of fixed random frequencies, rotated and translated by the style, mixed by a learned matrix.

    Args:
        signal: the maps to make.
        w_dim: size of w.

    Shape:
        - style: `(B, 4)`: cosine and sine of a rotation (normalised here) and a translation.
        - transform: `(3, 3)` or `(B, 3, 3)`, the inverse of the transform of the image; by default the buffer
          `transform`.
        - output: `(B, channels, size, size)`.

    Examples:
        >>> layer = FourierInput(signal=Signal(2.0, 4.0, 16, 6.0, 36, 8), w_dim=5)
        >>> layer(layer.affine(torch.randn(2, 5))).shape
        torch.Size([2, 8, 36, 36])
    """

    frequencies: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, *, signal: Signal, w_dim: int) -> None:
        super().__init__()
        self.size, self.sampling_rate, self.cutoff = signal.size, float(signal.sampling_rate), signal.cutoff
        self.mixing_gain = 1 / math.sqrt(signal.channels)
        self.affine = EqualizedLinear(in_features=w_dim, out_features=4, weight_init=0.0)
        with torch.no_grad():
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))  # no rotation, no translation
        self.weight = nn.Parameter(torch.randn(signal.channels, signal.channels))
        frequencies = torch.randn(signal.channels, 2)
        radius = frequencies.norm(dim=1, keepdim=True)
        frequencies = frequencies / (radius * radius.square().exp().pow(0.25)) * signal.cutoff
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", torch.rand(signal.channels) - 0.5)
        self.register_buffer("transform", torch.eye(3))

    def forward(self, style: Tensor, transform: Tensor | None = None) -> Tensor:
        matrix = _pose(style) @ (self.transform if transform is None else transform.to(style))
        frequencies = self.frequencies @ matrix[:, :2, :2]
        phases = self.phases + (self.frequencies @ matrix[:, :2, 2:]).squeeze(2)
        x = self._grid() @ frequencies[:, None].mT + phases[:, None, None]
        # Frequencies that the transform brought above the band limit fade out.
        nyquist, lengths = self.sampling_rate / 2, torch.linalg.vector_norm(frequencies, dim=[2])
        amplitude = (1 - (lengths - self.cutoff) / (nyquist - self.cutoff)).clamp(0, 1)
        x = torch.sin(2 * math.pi * x) * amplitude[:, None, None]
        mixed = x @ (self.weight * self.mixing_gain).T
        return mixed.permute(0, 3, 1, 2).contiguous()

    def _grid(self) -> Tensor:
        # Pixel centres in units of the image's side: the image is -0.5..0.5, the margin lies around it.
        axis = torch.arange(self.size, device=self.phases.device, dtype=self.phases.dtype)
        axis = (axis + 0.5 - self.size / 2) / self.sampling_rate
        return torch.stack(torch.meshgrid([axis, axis], indexing="xy"), dim=-1)


def _pose(style: Tensor) -> Tensor:
    """Rotation times translation, `(B, 3, 3)`, from `(cosine, sine, x, y)`."""
    style = style / torch.linalg.vector_norm(style[:, :2], dim=[1], keepdim=True)
    cosine, sine, x, y = style.unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rotation = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], dim=1).view(-1, 3, 3)
    translation = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).view(-1, 3, 3)
    return rotation @ translation


def demodulation(weight: Tensor, style: Tensor, eps: float = 1e-8) -> tuple[Tensor, Tensor]:
    """Normalised styles and the factor of each output channel that brings its expected variance to one.

    The effective kernel of the paper, `W^ s^ d` with `W^` of mean square 1 an output channel, is
    `weight * style_out * factor`.

    Args:
        weight: `(O, I, K, K)`.
        style: `(B, I)`.
        eps: keeps the factor finite.

    Returns:
        Styles of mean square 1 a sample, `(B, I)`, and factors `(B, O)`.

    Examples:
        >>> weight, style = torch.randn(4, 6, 3, 3), torch.rand(2, 6) + 0.5
        >>> style, factor = demodulation(weight, style)
        >>> (weight * style[:, None, :, None, None]).square().sum((2, 3, 4)).sqrt().mul(factor).round(decimals=4)[0]
        tensor([1., 1., 1., 1.])
    """
    style = style * style.square().mean(1, keepdim=True).rsqrt()
    power = weight.square().sum((2, 3))
    scale = (power.sum(1) / weight[0].numel()).rsqrt()
    return style, scale * (style.square() @ (power * scale.square()[:, None]).T + eps).rsqrt()


def modulated_conv2d(x: Tensor, weight: Tensor, style: Tensor, padding: int = 0, amp: bool = False) -> Tensor:
    """Convolution of `x` scaled by `style`; multiply the result by `demodulation`'s factor.

    Without gradients a large batch is convolved in parts, which bounds the memory.

    Args:
        x: `(B, I, H, W)`.
        weight: `(O, I, K, K)`.
        style: `(B, I)`.
        padding: zeros around the maps.
        amp: convolve in bfloat16.

    Returns:
        `(B, O, H', W')`, in bfloat16 if `amp`.

    Examples:
        >>> modulated_conv2d(torch.rand(2, 6, 8, 8), torch.randn(4, 6, 3, 3), torch.rand(2, 6), padding=2).shape
        torch.Size([2, 4, 10, 10])
    """
    dtype = torch.bfloat16 if amp else x.dtype
    weight, scale = weight.to(dtype), style[:, :, None, None].to(x.dtype)
    if not torch.jit.is_scripting() and _in_parts():
        step = max(1, _PART_ELEMENTS // x[0].numel())
        parts = zip(x.split(step), scale.split(step), strict=True)
        return torch.cat([nn.functional.conv2d((part * s).to(dtype), weight, padding=padding) for part, s in parts])
    return nn.functional.conv2d((x * scale).to(dtype), weight, padding=padding)


@torch.jit.unused
def _in_parts() -> bool:
    return not (torch.is_grad_enabled() or torch.jit.is_tracing() or torch.compiler.is_compiling())


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
        self.clamp = conv_clamp
        self.bfloat16_convolution, self.bfloat16_maps = amp is not None, amp == "full"
        self.padding, channels = plan.kernel_size - 1, plan.source.channels
        self.rgb_gain = 1 / math.sqrt(channels)
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

    def forward(self, x: Tensor, style: Tensor, update_averages: bool = False) -> Tensor:
        if update_averages and self.training:
            with torch.no_grad():
                self.magnitude_ema.lerp_(x.float().square().mean().to(self.magnitude_ema), 1 - self.magnitude_beta)
        gain = self.magnitude_ema.rsqrt()
        if self.activation is None:
            return self._to_rgb(x.to(style.dtype), style * gain * self.rgb_gain)
        style, factor = demodulation(self.weight, style)
        x = modulated_conv2d(x, self.weight, style * gain, padding=self.padding, amp=self.bfloat16_convolution)
        dtype = torch.bfloat16 if self.bfloat16_maps else style.dtype
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
        self.num_ws, self.output_scale = len(plans) + 1, OUTPUT_SCALE
        self.detail_layer = _detail_layer(plans)
        names = ["input", *(f"L{i}" for i in range(len(plans) - 1)), "rgb"]
        self.style_space = StyleSpace(names=names, widths=[4, *(plan.source.channels for plan in plans)])

    def styles(self, ws: Tensor) -> list[Tensor]:
        """Styles `(B, channels)` of the input and of each layer for `(B, 16, w_dim)`; toRGB's before its gain."""
        if ws.ndim != 3 or ws.shape[1] != self.num_ws:
            raise ValueError(f"ws must be (B, {self.num_ws}, w_dim), got {list(ws.shape)}")
        found = [self.input.affine(ws[:, 0])]
        for i, layer in enumerate(self.layers):
            found.append(layer.affine(ws[:, i + 1]))  # type: ignore[operator]
        return found

    def run(
        self,
        styles: list[Tensor],
        start_layer: int = 0,
        features: Tensor | None = None,
        stop_layer: int | None = None,
        transform: Tensor | None = None,
        update_averages: bool = False,
        detail: Tensor | None = None,
    ) -> Tensor:
        """Run the layers from `start_layer` up to, but not including, `stop_layer`.

        Args:
            styles: the whole style list; those of layers that do not run are not read.
            start_layer: first layer to run.
            features: output of layer `start_layer - 1`, from an earlier call with `stop_layer=start_layer`.
            stop_layer: `None` runs to the end and gives the image.
            transform: see `FourierInput`.
            update_averages: in training mode, update the running magnitudes.
            detail: maps of a `DetailEncoder`, added to what layer `detail_layer` reads, if that layer runs.

        Raises:
            ValueError: if the layers are out of order, or features lack or are given in vain.
        """
        if not torch.jit.is_scripting():
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
        for i, layer in enumerate(self.layers):
            if start_layer <= i + 1 < stop:
                if detail is not None and i + 1 == self.detail_layer:
                    x = x + detail.to(x.dtype)
                x = layer(x, styles[i + 1], update_averages)
        return x * self.output_scale if stop == self.num_ws else x

    def forward(self, ws: Tensor, transform: Tensor | None = None, update_averages: bool = False) -> Tensor:
        return self.run(self.styles(ws), transform=transform, update_averages=update_averages)


def _detail_layer(plans: list[LayerPlan]) -> int:
    """The first layer, counted as in the style list, that reads more than a quarter of the image's sampling rate."""
    limit = plans[-1].target.sampling_rate // 4
    return next(i for i, plan in enumerate(plans) if i and plan.target.sampling_rate > limit) + 1
