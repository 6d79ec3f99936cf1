"""StyleGAN3, configurations T and R, unconditional or conditional on the grade; and its style space.

Source: Karras et al., "Alias-Free Generative Adversarial Networks", arXiv:2106.12423, sections 3.2 and F.1; modulated
convolution after arXiv:1912.04958, section 2.2. Scaling a kernel's input channels is scaling the input, and
demodulation is a factor for each output channel: so one kernel serves the whole batch, and no kernel for each sample is
ever made. Style space: Wu et al., "StyleSpace Analysis", arXiv:2011.12799: its channels are more disentangled than w.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.networks.filtered_leaky_relu import FilteredLeakyReLU
from monai_retina_gen.networks.layers import EqualizedLinear, LatentMapping
from monai_retina_gen.networks.stylegan3_schedule import LayerPlan, Signal, plan_layers

OUTPUT_SCALE = 0.25
"""Keeps an untrained network's images within [-1, 1]."""
_PART_ELEMENTS = 2**25


class StyleSpace:
    """Map between the flat index k of a style channel and its (layer, channel).

    Examples:
        >>> space = StyleSpace(names=["input", "L0", "rgb"], widths=[4, 8, 8])
        >>> space.size, space.locate(5), space.index(1, 1)
        (20, (1, 1), 5)
    """

    def __init__(self, *, names: Sequence[str], widths: Sequence[int]) -> None:
        self.names, self.widths = tuple(names), tuple(widths)
        self.offsets = (0, *accumulate(self.widths))
        self.size = self.offsets[-1]

    def locate(self, k: int) -> tuple[int, int]:
        """Layer (index into the style list) and channel of the flat index `k`."""
        if not 0 <= k < self.size:
            raise IndexError(f"style channel {k} is not in 0..{self.size - 1}")
        layer = bisect_right(self.offsets, k) - 1
        return layer, k - self.offsets[layer]

    def index(self, layer: int, channel: int) -> int:
        """Flat index of a channel of a layer."""
        if not 0 <= layer < len(self.widths) or not 0 <= channel < self.widths[layer]:
            raise IndexError(f"layer {layer}, channel {channel} is not in this space: widths are {self.widths}")
        return self.offsets[layer] + channel

    def flatten(self, styles: Sequence[Tensor]) -> Tensor:
        """Styles of all layers as `(B, size)`."""
        self.check(styles)
        return torch.cat(list(styles), dim=1)

    def split(self, flat: Tensor) -> list[Tensor]:
        """The style list of `(B, size)`."""
        if flat.ndim != 2 or flat.shape[1] != self.size:
            raise ValueError(f"flat styles must be (B, {self.size}), got {tuple(flat.shape)}")
        return list(flat.split(self.widths, dim=1))

    def check(self, styles: Sequence[Tensor]) -> None:
        """Raise `ValueError` unless `styles` has one `(B, width)` tensor for each layer."""
        got = tuple(tuple(style.shape[1:]) for style in styles)
        if got != tuple((width,) for width in self.widths):
            raise ValueError(f"styles must be {len(self.widths)} tensors (B, width) of widths {self.widths}, got {got}")


class FourierInput(nn.Module):
    """Sines of fixed random frequencies, rotated and translated by the style, mixed by a learned matrix.

    The style `(B, 4)` is cosine and sine of a rotation (normalised here) and a translation; `transform`, `(3, 3)` or
    `(B, 3, 3)`, the inverse of the transform of the image, by default the buffer `transform`.
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
    """Normalised styles `(B, I)` and the factor `(B, O)` that brings each output channel's expected variance to one.

    The effective kernel of the paper, `W^ s^ d` with `W^` of mean square 1 an output channel, is `weight * style_out *
    factor`.

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
    """Convolution of `x` scaled by `style`; multiply the result, in bfloat16 if `amp`, by `demodulation`'s factor.

    Without gradients a large batch is convolved in parts, which bounds the memory.
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

    `amp` is `None`, "conv" (bfloat16 convolution) or "full" (bfloat16 maps as well).
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
    """From the styles of the input and of each layer to the image `(B, 3, image_size, image_size)`, unclamped.

    The style list has 16 entries: the input layer's (4 channels), those of layers 0 to 13 and toRGB's. A layer index
    counts in this list: 0 is the input, 15 toRGB.
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
        """Run the layers from `start_layer` up to, but not including, `stop_layer`; to the end it gives the image.

        The style list is whole; styles of layers that do not run are not read. `features` are the output of layer
        `start_layer - 1`, `detail` the maps of a `DetailEncoder`, added to what layer `detail_layer` reads, if that
        runs.
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


class StyleGAN3(nn.Module):
    """Alias-free generator: details move with what they belong to, instead of sticking to the pixels.

    Args:
        image_size: side of the images, a power of two of at least 32.
        config: "t", equivariant to translation, or "r", to rotation as well.
        z_dim: size of the latent.
        w_dim: size of the intermediate latent.
        num_classes: number of grades; 0 makes it unconditional.
        channel_base: channels are `channel_base / 2 / cutoff frequency`. The paper's R has twice T's: 65536.
        channel_max: upper limit of the channels. The paper's R has 1024.
        mapping_layers: fully connected layers of the mapping network.
        conv_clamp: limit of the absolute values of each layer's output; `None` for no limit.
        magnitude_beta: decay of the running mean square of each layer's input a training pass;
            `0.5 ** (batch_size / 20000)` in the paper.
        w_avg_beta: decay of the running mean of w a training pass.
        amp: precision of the layers whose sampling rate is above `image_size / 16`: `None` is float32, "conv"
            convolves in bfloat16, "full" filters and keeps the maps in bfloat16 as well.

    Shape:
        - latent: `(B, z_dim)` standard normal; grade: `(B,)` integers, `num_classes` for "unknown", or `None`.
        - output: `(B, 3, image_size, image_size)`, RGB, -1..1 by convention, unclamped.

    Raises:
        ValueError: for a size, configuration or precision that there is not.

    Examples:
        >>> network = StyleGAN3(image_size=32, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
        >>> network(torch.randn(2, 8), torch.tensor([0, 4]), truncation=0.7).shape, network.style_space.size
        (torch.Size([2, 3, 32, 32]), 124)
    """

    latent_distribution = "normal"
    w_avg: Tensor
    __jit_unused_properties__ = ["style_space"]  # noqa: RUF012

    def __init__(
        self,
        *,
        image_size: int = 256,
        config: str = "t",
        z_dim: int = 512,
        w_dim: int = 512,
        num_classes: int = 0,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 2,
        conv_clamp: float | None = 256.0,
        magnitude_beta: float = 0.999,
        w_avg_beta: float = 0.998,
        amp: str | None = None,
    ) -> None:
        super().__init__()
        self.image_size = check_whole("image_size", image_size)
        self.z_dim, self.w_dim, self.num_classes = z_dim, w_dim, num_classes
        self.w_avg_beta = w_avg_beta
        self.latent_mapping = LatentMapping(
            z_dim=z_dim, w_dim=w_dim, num_classes=num_classes, num_layers=mapping_layers
        )
        self.synthesis = StyleGAN3Synthesis(
            image_size=image_size,
            config=config,
            w_dim=w_dim,
            channel_base=channel_base,
            channel_max=channel_max,
            conv_clamp=conv_clamp,
            magnitude_beta=magnitude_beta,
            amp=amp,
        )
        self.num_ws = self.synthesis.num_ws
        self.register_buffer("w_avg", torch.zeros(w_dim))

    @property
    def latent_dim(self) -> int:
        """`z_dim` under the name that all generators share."""
        return self.z_dim

    @property
    def conditional(self) -> bool:
        """Whether the images depend on a grade."""
        return self.num_classes > 0

    @property
    def style_space(self) -> StyleSpace:
        """Size of the style space, and where each of its channels lies."""
        return self.synthesis.style_space

    def use_plain_operators(self, plain: bool = True) -> None:
        """Filter by PyTorch's own operators: slower, but `torch.func` and forward mode see through them."""
        for module in self.modules():
            if isinstance(module, FilteredLeakyReLU):
                module.plain = plain

    def mapping(
        self,
        latent: Tensor,
        grade: Tensor | None = None,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
        update_averages: bool = False,
    ) -> Tensor:
        """Intermediate latents `(B, num_ws, w_dim)`.

        `truncation` is the share of the distance from the mean latent that is kept: 1 is the full variety, 0 the mean;
        only the first `truncation_cutoff` latents are truncated. `update_averages` updates the running mean of w in
        training mode.
        """
        w = self.latent_mapping(latent, grade)
        if update_averages and self.training:
            with torch.no_grad():
                self.w_avg.lerp_(w.mean(0).to(self.w_avg), 1 - self.w_avg_beta)
        ws = w[:, None].expand(-1, self.num_ws, -1)
        if truncation == 1.0:
            return ws
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        if not 0 <= cutoff <= self.num_ws:
            raise ValueError(f"truncation_cutoff must lie in 0..{self.num_ws}, got {cutoff}")
        return torch.cat([self.w_avg.lerp(ws[:, :cutoff], truncation), ws[:, cutoff:]], dim=1)

    def mix_styles(self, ws: Tensor, other: Tensor, *, layers: Iterable[int]) -> Tensor:
        """`ws` with the latents of `layers` taken from `other`; both `(B, num_ws, w_dim)`."""
        mixed = ws.clone()
        for layer in layers:
            if not 0 <= layer < self.num_ws:
                raise ValueError(f"layers must lie in 0..{self.num_ws - 1}, got {layer}")
            mixed[:, layer] = other[:, layer]
        return mixed

    def styles(self, ws: Tensor) -> list[Tensor]:
        """Style vectors `(B, channels)` of the input layer, layers 0 to 13 and toRGB."""
        return self.synthesis.styles(ws)

    def synthesize_from_styles(
        self, styles: list[Tensor], *, transform: Tensor | None = None, detail: Tensor | None = None
    ) -> Tensor:
        """Images for a style list.

        `transform` is the inverse of a transform of the image, `(3, 3)` or `(B, 3, 3)`, in units of the image's side;
        `detail` what a `DetailEncoder` saw in a photograph, for its reconstruction.
        """
        return self.synthesis.run(styles, transform=transform, detail=detail)

    def forward(
        self,
        latent: Tensor,
        grade: Tensor | None = None,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
        update_averages: bool = False,
    ) -> Tensor:
        ws = self.mapping(
            latent,
            grade,
            truncation=truncation,
            truncation_cutoff=truncation_cutoff,
            update_averages=update_averages,
        )
        return self.synthesis(ws, update_averages=update_averages)


def pinned_styles(network: Any, ws: Tensor) -> list[Tensor]:
    """Styles of latents `(B, num_ws, w_dim)` with the input's rotation and translation held at those of the mean."""
    styles: list[Tensor] = network.styles(ws)
    pose = network.synthesis.input.affine(network.w_avg[None])
    return [pose.expand(len(ws), -1), *styles[1:]]


@torch.no_grad()
def latent_statistics(network: Any, *, samples: int = 1000, seed: int = 123) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of w for each grade `(num_classes, w_dim)`, its spread, and the styles' deviations `(K,)`.

    The spread is the root of the summed variance of w (the projector's `w_std`); one row where unconditional. Over
    fixed latents, all grades alike.
    """
    device, classes = network.w_avg.device, max(network.num_classes, 1)
    drawn = torch.Generator().manual_seed(seed)
    latents = torch.randn(samples, network.z_dim, generator=drawn, dtype=torch.float32).to(device)
    each = [latents.new_full((samples,), grade, dtype=torch.long) for grade in range(classes)]
    ws = [network.mapping(latents, grade if network.num_classes else None)[:, 0] for grade in each]
    means = torch.stack([w.mean(0) for w in ws])
    spread = torch.stack([(w - w.mean(0)).square().sum(1).mean() for w in ws]).mean().sqrt()
    expanded = torch.cat(ws)[:, None].expand(-1, network.num_ws, -1)
    return means, spread, network.style_space.flatten(network.styles(expanded)).std(0)
