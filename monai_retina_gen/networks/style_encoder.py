"""Encoder from photographs to the intermediate latents W+ of a StyleGAN3, one for each of its layers.

Source: Richardson et al. 2021, "Encoding in Style", arXiv:2008.00951 (a feature pyramid whose coarse, middle and fine
maps give the latents of coarse, middle and fine layers; offsets from the mean latent). Smaller than theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["StyleEncoder"]

GRID = 4
"""Side of the pooled maps: where something lies matters, and the maps of all sizes of image end alike."""


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
        - image: `(B, 3, H, W)`, -1..1, sides multiples of 32.
        - w_avg: `(w_dim,)`, the generator's `w_avg`.
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
