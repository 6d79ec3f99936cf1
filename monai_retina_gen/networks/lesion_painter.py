"""Painter of lesions: fills holes in a photograph, with the lesions that masks ask for, or with healthy retina.

Sources: gated convolutions after Yu et al. 2019 (arXiv:1806.03589), which have no normalisation: what a hole is filled
with does not depend on how much black surrounds the eye or on the size of the crop. A U-Net (Ronneberger et al. 2015)
that reads the masks again at each size of its decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, elu, interpolate

from monai_retina_gen.data.names import LESIONS
from monai_retina_gen.networks.hole_filling import feathered, local_mean

PAINTED_LESIONS = LESIONS
"""Lesions that can be asked for: microaneurysms, haemorrhages, hard and soft exudates."""

CANVAS_KEYS = ("red", "green", "blue", "fov", "hole", "vessel", *PAINTED_LESIONS)
"""Channels of a canvas, in order."""

PAINTING_PLANES = ("fov", "paintable", "vessel", *PAINTED_LESIONS)
"""Planes of masks from which canvases are made in training: field of view, where holes may lie, vessels, lesions."""

MASKS = 6  # hole, vessel and lesions: read again at each size of the decoder


class LesionPainter(nn.Module):
    """Fills the holes of a photograph.

    What lies in a hole is erased before anything is computed: the network sees the photograph around it, as the
    difference to the local mean, the vessels that cross it and the lesions that are wanted in it. It draws a difference
    to the local mean, which is pasted with a soft edge inside the hole; all else stays as it was.

    Args:
        channels: width at each size; each is half of the one before.
        feather: width of the soft edge, in pixels, inside the hole.

    Attributes:
        stride: height and width are multiples of it.

    Shape:
        - canvas: `(B, 10, H, W)`, see `CANVAS_KEYS`: the photograph in [0, 1], field of view and holes (0 or 1), and
          soft masks of vessels and lesions in [0, 1].
        - noise: `(B, 1, H, W)`, standard normal, or `None` for zeros: the texture that the surroundings leave open.
        - output: `(B, 3, H, W)` in about [-1, 1] (the photograph is [0, 1]); not clamped.

    Raises:
        ValueError: for fewer than two widths, or a canvas of another shape or size.

    Examples:
        >>> network = LesionPainter(channels=(4, 8, 8))
        >>> canvas = torch.rand(2, 10, 32, 48)
        >>> canvas[:, 4] = 0
        >>> bool(torch.allclose(network(canvas), canvas[:, :3] * 2 - 1))
        True
    """

    def __init__(self, *, channels: Sequence[int] = (24, 48, 96, 128, 160), feather: int = 3) -> None:
        super().__init__()
        if len(channels) < 2 or feather < 0:
            raise ValueError(f"channels={tuple(channels)}, feather={feather}: want at least two widths, and from 0 px")
        self.stride, self.feather = max(2 ** (len(channels) - 1), 8), feather
        widths = list(channels)
        self.first = nn.Sequential(_GatedConv(8 + MASKS, widths[0]), _Residual(widths[0]))
        self.down = nn.ModuleList(nn.Sequential(_GatedConv(i, o, stride=2), _Residual(o)) for i, o in pairwise(widths))
        self.middle = _Residual(widths[-1], dilation=2)
        rising = widths[::-1]
        self.up = nn.ModuleList(nn.Sequential(_GatedConv(i + o + MASKS, o), _Residual(o)) for i, o in pairwise(rising))
        self.to_rgb = nn.Conv2d(widths[0], 3, 3, padding=1)
        nn.init.normal_(self.to_rgb.weight, std=0.01)
        nn.init.zeros_(self.to_rgb.bias)  # type: ignore[arg-type]

    def forward(self, canvas: Tensor, noise: Tensor | None = None) -> Tensor:
        if canvas.dim() != 4 or canvas.shape[1] != 10 or canvas.shape[2] % self.stride or canvas.shape[3] % self.stride:
            raise ValueError(
                f"canvas: shape {list(canvas.shape)} came, wanted (B, 10, H, W) with sides that are multiples of "
                f"{self.stride}"
            )
        image, field, hole = canvas[:, :3], canvas[:, 3:4], canvas[:, 4:5]
        known = field * (1 - hole)
        mean = local_mean(image, known)
        masks = torch.cat([hole, canvas[:, 5:6] * field, canvas[:, 6:] * hole], dim=1)
        grain = torch.zeros_like(hole) if noise is None else noise * hole
        x = torch.cat([4 * (image - mean) * known, (2 * mean - 1) * field, field, grain, masks], dim=1)
        drawn = mean + 0.25 * self._draw(x, masks).float()
        weight = feathered(hole, self.feather)
        return 2 * (image + weight * (drawn - image)) - 1

    def _draw(self, x: Tensor, masks: Tensor) -> Tensor:
        x = self.first(x)
        skips: list[Tensor] = []
        sizes: list[Tensor] = []
        for down in self.down:
            skips.append(x)
            sizes.append(masks)
            x, masks = down(x), avg_pool2d(masks, 2)
        x = self.middle(x)
        for up in self.up:
            x = interpolate(x, scale_factor=2.0, mode="nearest")
            x = up(torch.cat([x, skips.pop(), sizes.pop().to(x.dtype)], dim=1))
        drawn: Tensor = self.to_rgb(x)
        return drawn


class _GatedConv(nn.Module):
    """`elu(conv_a(x)) * sigmoid(conv_b(x))`, both in one convolution."""

    def __init__(self, inside: int, outside: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, 2 * outside, 3, stride=stride, padding=dilation, dilation=dilation)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="linear")
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.conv.weight[:outside] *= 2  # gates begin half open

    def forward(self, x: Tensor) -> Tensor:
        features, gate = self.conv(x).chunk(2, dim=1)
        return elu(features) * torch.sigmoid(gate)


class _Residual(nn.Module):
    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = _GatedConv(channels, channels, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = (x + self.conv(x)) * 0.7071
        return found
