"""Encoders of photographs for a StyleGAN3, generator and encoders as one network, and which eyes are mirrored for it.

Sources: Richardson et al. 2021, "Encoding in Style", arXiv:2008.00951 (styles: a feature pyramid whose coarse, middle
and fine maps give the latents of coarse, middle and fine layers; offsets from the mean latent). Yao et al. 2022, "A
Style-Based GAN Encoder for High Fidelity Reconstruction", arXiv:2202.02183, and Wang et al. 2022, "High-Fidelity GAN
Inversion", arXiv:2109.06590 (detail: what styles cannot say of a photograph, such as where its vessels run, as maps for
one layer of the generator; ours are added to what that layer reads, so that the styles of all layers still act). Zhao
et al. 2023 compare photographs with generated images; here with `G(E(x))`, so that photographs can be inverted by
construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.networks.stylegan3 import pinned_styles

GRID = 4
"""Side of the pooled maps: where something lies matters, and the maps of all sizes of image end alike."""

MAP_STRIDE = 4


class _Block(nn.Module):
    """Two normalised 3x3 convolutions, the first with stride 2, beside a 1x1 skip of the halved maps."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm0, self.norm1 = (nn.GroupNorm(min(8, out_channels), out_channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        skip = self.skip(nn.functional.avg_pool2d(x, 2))
        x = nn.functional.silu(self.norm0(self.conv0(x)))
        return nn.functional.silu(self.norm1(self.conv1(x)) + skip)


class _Level(nn.Module):
    """From one map of the pyramid to the latents of some layers."""

    def __init__(self, channels: int, hidden: int, w_dim: int, count: int) -> None:
        super().__init__()
        self.count, self.w_dim = count, w_dim
        self.reduce = nn.Conv2d(channels, hidden // 4, 1)
        self.hidden = nn.Linear(hidden // 4 * GRID**2, hidden)
        self.heads = nn.Linear(hidden, count * w_dim)
        with torch.no_grad():  # close to the mean latent at the beginning
            self.heads.weight.mul_(0.1)
            self.heads.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(nn.functional.silu(self.reduce(x)), GRID)
        offsets: Tensor = self.heads(nn.functional.silu(self.hidden(x.flatten(1))))
        return offsets.unflatten(1, (self.count, self.w_dim))


class StyleEncoder(nn.Module):
    """Intermediate latents W+ of photographs, as offsets from a generator's mean latent.

    Args:
        num_ws: latents to give, the generator's `num_ws`.
        w_dim: size of each.
        channels: widths at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's side; the last three make the pyramid.
        pyramid: width of the pyramid's maps.
        hidden: width before the heads.

    Shape:
        - image: `(B, 3, H, W)`, -1..1, sides multiples of 32; w_avg: `(w_dim,)`, the generator's.
        - output: `(B, num_ws, w_dim)`.

    Raises:
        ValueError: for another shape of image, or not five widths.

    Examples:
        >>> encoder = StyleEncoder(w_dim=8, channels=(4, 4, 8, 8, 8), pyramid=8, hidden=16)
        >>> encoder(torch.zeros(2, 3, 64, 64), torch.zeros(8)).shape
        torch.Size([2, 16, 8])
    """

    def __init__(
        self,
        *,
        num_ws: int = 16,
        w_dim: int = 512,
        channels: Sequence[int] = (32, 64, 128, 192, 256),
        pyramid: int = 128,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        if len(channels) != 5 or num_ws < 3:
            raise ValueError(f"channels must be five widths and num_ws at least 3, got {list(channels)} and {num_ws}")
        self.num_ws, self.w_dim = num_ws, w_dim
        self.blocks = nn.ModuleList(_Block(a, b) for a, b in zip((3, *channels[:-1]), channels, strict=True))
        self.lateral = nn.ModuleList(nn.Conv2d(width, pyramid, 1) for width in channels[:1:-1])  # coarse first
        counts = [num_ws // 3, num_ws // 3, num_ws - 2 * (num_ws // 3)]
        self.levels = nn.ModuleList(_Level(pyramid, hidden, w_dim, count) for count in counts)

    def forward(self, image: Tensor, w_avg: Tensor) -> Tensor:
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] % 32 or image.shape[3] % 32:
            raise ValueError(
                f"image must be (B, 3, H, W) with sides that are multiples of 32, got {tuple(image.shape)}"
            )
        maps, x = [], image
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        offsets, top = [], None
        for level, lateral, features in zip(self.levels, self.lateral, maps[:1:-1], strict=True):
            here = lateral(features)
            top = here if top is None else here + nn.functional.interpolate(top, scale_factor=2.0)
            offsets.append(level(top))
        return w_avg + torch.cat(offsets, dim=1)


class DetailEncoder(nn.Module):
    """Maps `(B, channels, size, size)` for layer `synthesis.detail_layer` of a `StyleGAN3`, 0 in the margin.

    They are read from images of `4 * sampling_rate` pixels in [-1, 1]; `channels`, `size` (margin included) and
    `sampling_rate` are those of what the layer reads. All of the photograph passes through `bottleneck` channels.
    """

    def __init__(self, *, channels: int, size: int, sampling_rate: int, width: int = 96, bottleneck: int = 24) -> None:
        super().__init__()
        self.margin = (size - sampling_rate) // 2
        self.first = nn.Conv2d(3 * MAP_STRIDE**2, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Residual(width) for _ in range(4))
        self.narrow = nn.Conv2d(width, bottleneck, 1)
        self.last = nn.Conv2d(bottleneck, channels, 1, bias=False)
        with torch.no_grad():  # the generator begins without
            self.last.weight.mul_(0.1)

    @classmethod
    def of(cls, network: Any, **options: Any) -> DetailEncoder:
        """The encoder for a `StyleGAN3`; `options` are `width` and `bottleneck`."""
        reads = network.synthesis.layers[network.synthesis.detail_layer - 1].plan.source
        return cls(channels=reads.channels, size=reads.size, sampling_rate=reads.sampling_rate, **options)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(nn.functional.pixel_unshuffle(image, MAP_STRIDE))
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.last(self.narrow(x))
        return nn.functional.pad(found, [self.margin] * 4)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0, self.conv1 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.norm0, self.norm1 = (nn.GroupNorm(min(8, width), width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv0(nn.functional.silu(self.norm0(x)))
        y = self.conv1(nn.functional.silu(self.norm1(y)))
        return x + y


class StyleAutoencoder(nn.Module):
    """Draws photographs again, and samples, in one pass, by a `StyleGAN3` and its two encoders.

    Of the photographs a `detail_share` is drawn with its detail; the others have their styles alone.

    Shape:
        - latent: `(B, z_dim)`; grade: `(B,)` or `None`.
        - photograph: `(N, 3, S, S)` in [-1, 1], N at most B: the first N images are drawn from their styles, the
          others from the latents. `None` for none.
        - eye: `(N, 3, S, S)`, the same eyes, perhaps with other lesions: detail is read from them.
        - output: `(B, 3, S, S)`.

    Examples:
        >>> from monai_retina_gen.networks import DetailEncoder, StyleEncoder, StyleGAN3
        >>> generator = StyleGAN3(image_size=64, z_dim=8, w_dim=8, channel_base=256, channel_max=8)
        >>> encoder = StyleEncoder(w_dim=8, channels=(4, 4, 8, 8, 8), pyramid=8, hidden=16)
        >>> both = StyleAutoencoder(generator, encoder, DetailEncoder.of(generator, width=8, bottleneck=4))
        >>> both(torch.randn(3, 8), photograph=torch.zeros(2, 3, 64, 64), eye=torch.zeros(2, 3, 64, 64)).shape
        torch.Size([3, 3, 64, 64])
    """

    def __init__(
        self, generator: nn.Module, encoder: nn.Module, detail_encoder: nn.Module, *, detail_share: float = 0.75
    ) -> None:
        super().__init__()
        self.generator: Any = generator
        self.encoder, self.detail_encoder = encoder, detail_encoder
        self.detail_share = detail_share
        self.latent_dim, self.latent_distribution = self.generator.latent_dim, self.generator.latent_distribution

    def forward(
        self,
        latent: Tensor,
        grade: Tensor | None = None,
        photograph: Tensor | None = None,
        eye: Tensor | None = None,
        update_averages: bool = False,
    ) -> Tensor:
        network, count = self.generator, 0 if photograph is None else len(photograph)
        ws = network.mapping(latent[count:], None if grade is None else grade[count:], update_averages=update_averages)
        styles, detail = network.styles(ws), None
        if photograph is not None and eye is not None:
            own, detail = self.encode(photograph, eye)
            styles = [torch.cat(pair) for pair in zip(own, styles, strict=True)]
            shown = int(self.detail_share * count + 0.5)
            detail = nn.functional.pad(detail[:shown], [0, 0, 0, 0, 0, 0, 0, len(latent) - shown])
        image: Tensor = network.synthesis.run(styles, detail=detail, update_averages=update_averages)
        return image

    def encode(self, photograph: Tensor, eye: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Style list and detail of photographs in [-1, 1]; detail of `eye` where it is given."""
        ws = self.encoder(photograph, self.generator.w_avg)
        return pinned_styles(self.generator, ws), self.detail_encoder(photograph if eye is None else eye)

    def reconstruct(self, photograph: Tensor, eye: Tensor | None = None, *, detail: bool = True) -> Tensor:
        """Photographs `(B, 3, S, S)` in [-1, 1] drawn again, with detail (of `eye`, where it is given) or without."""
        styles, own = self.encode(photograph, eye)
        image: Tensor = self.generator.synthesize_from_styles(styles, detail=own if detail else None)
        return image


@torch.no_grad()
def mean_eye(network: Any) -> Tensor:
    """What a `StyleGAN3` makes of its mean latent, `(1, 3, S, S)` in [-1, 1]."""
    ws = network.w_avg.expand(1, network.num_ws, -1)
    image: Tensor = network.synthesize_from_styles(pinned_styles(network, ws))
    return image


@torch.no_grad()
def mirrored_photographs(network: Any, images: Tensor, mean: Tensor | None = None) -> Tensor:
    """Which photographs show their disc on the other side than a one-sided network draws it, `(B,)`.

    Left and right eyes mirror each other, and a small network learns one of them far better than both. Mirrored are
    photographs that are more like the mirror image of the network's mean eye (`mean`, where it is there already) than
    like it.
    """
    mean = (mean_eye(network) if mean is None else mean).to(images)
    return ((mean - mean.flip(-1)) * images).sum((1, 2, 3)) < 0


def flipped(images: Tensor, mirrored: Tensor | None) -> Tensor:
    """Images `(B, C, H, W)`, those of the rows `mirrored` left to right; `None` flips none.

    Examples:
        >>> flipped(torch.tensor([[[[1, 2]]], [[[3, 4]]]]), torch.tensor([False, True])).flatten().tolist()
        [1, 2, 4, 3]
    """
    if mirrored is None:
        return images
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(-1), images)
