"""Painter of lesions: fills holes in a photograph, with the lesions that masks ask for, or with healthy retina.

Sources: gated convolutions after Yu et al. 2019 (arXiv:1806.03589), which have no normalisation: what a hole is filled
with does not depend on how much black surrounds the eye or on the size of the crop. A U-Net (Ronneberger et al. 2015)
that reads the masks again at each size of its decoder. Holes have soft edges, and the colour of what lies around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, elu, interpolate, max_pool2d, pad

from monai_retina_gen.data.names import LESIONS

PAINTED_LESIONS = LESIONS
"""Lesions that can be asked for: microaneurysms, haemorrhages, hard and soft exudates."""

CANVAS_KEYS = ("red", "green", "blue", "fov", "hole", "vessel", *PAINTED_LESIONS)
"""Channels of a canvas, in order."""

PAINTING_PLANES = ("fov", "paintable", "vessel", *PAINTED_LESIONS)
"""Planes of masks from which canvases are made in training: field of view, where holes may lie, vessels, lesions."""

COVERED = 0.4
"""Share of a pixel that a lesion covers, from which on it counts."""

MASKS = 6  # hole, vessel and lesions: read again at each size of the decoder


class LesionPainter(nn.Module):
    """Fills the holes of a photograph.

    What lies in a hole is erased before anything is computed: the network sees the photograph around it, as the
    difference to the local mean, the vessels that cross it and the lesions that are wanted in it. It draws a difference
    to the local mean, which is pasted with a soft edge of `feather` pixels inside the hole; all else stays as it was.

    Args:
        channels: width at each size; each is half of the one before. Height and width are multiples of `stride`.
        feather: width of the soft edge, in pixels, inside the hole.

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


def dilated(mask: Tensor, radius: int) -> Tensor:
    """A mask `(B, C, H, W)` widened by about `radius` pixels on every side: an octagon, by two poolings.

    Examples:
        >>> mask = torch.zeros(1, 1, 9, 9)
        >>> mask[..., 4, 4] = 1
        >>> int(dilated(mask, 3).sum()), float(dilated(mask, 3)[0, 0, 4, 7]), float(dilated(mask, 3)[0, 0, 1, 1])
        (37, 1.0, 0.0)
    """
    slanted = (2 * radius) // 3  # of the radius; the cross of this many steps cuts the square's corners
    straight = radius - slanted
    if straight > 0:
        mask = max_pool2d(mask, 2 * straight + 1, stride=1, padding=straight)
    for _ in range(slanted):
        across = max_pool2d(mask, [1, 3], stride=1, padding=[0, 1])
        mask = torch.maximum(across, max_pool2d(mask, [3, 1], stride=1, padding=[1, 0]))
    return mask


def feathered(hole: Tensor, width: int) -> Tensor:
    """Weight of what fills a hole: 0 outside and at its edge, 1 from `width` pixels inside on."""
    if width < 1:
        return hole
    side = 2 * width + 1
    around = avg_pool2d(hole, side, stride=1, padding=width, count_include_pad=False)
    return hole * (2 * around - 1).clamp(0, 1)


def local_mean(image: Tensor, known: Tensor) -> Tensor:
    """Mean colour of `(B, 3, H, W)` around each place, over known pixels only; from farther away where none is near.

    H and W are multiples of 8, `known` is each pixel's weight: 0 in holes and outside the field of view.
    """
    weight, colour = avg_pool2d(known, 8), avg_pool2d(image * known, 8)
    total = 1e-6 * weight.mean((2, 3), keepdim=True)
    found = 1e-6 * colour.mean((2, 3), keepdim=True)
    share = 1.0
    for side in (3, 9, 27):  # of 24, 72 and 216 pixels; a wider one counts only where a narrower finds next to nothing
        total = total + share * _blurred(weight, side)
        found = found + share * _blurred(colour, side)
        share = share * 0.01
    small = _blurred(found / (total + 1e-8), 3)
    return interpolate(small, size=[image.shape[2], image.shape[3]], mode="bilinear", align_corners=False)


def _blurred(values: Tensor, side: int) -> Tensor:
    """Two boxes, one after the other: a mean whose weights fall off evenly, without edges."""
    once = avg_pool2d(values, side, stride=1, padding=side // 2, count_include_pad=False)
    return avg_pool2d(once, side, stride=1, padding=side // 2, count_include_pad=False)


def uncovered(vessel: Tensor, blood: Tensor) -> Tensor:
    """Vessels without what lies under haemorrhages, which segmenters take for vessels themselves.

    Examples:
        >>> vessel, blood = torch.ones(1, 1, 9, 9), torch.zeros(1, 1, 9, 9)
        >>> blood[..., 4, 4] = 1
        >>> int(uncovered(vessel, blood).sum()) == 81 - int(dilated(blood, 2).sum())
        True
    """
    return vessel * (1 - dilated((blood >= COVERED).to(vessel.dtype), 2))


def paintable(field: Tensor, disc: Tensor | None = None) -> Tensor:
    """Where holes may lie: inside the field of view but for its outer 5 %, and off the optic disc and its edge.

    At the rim half of what surrounds a hole is black, and the disc's edge is a structure that no mask describes.

    Examples:
        >>> allowed = paintable(torch.ones(1, 1, 200, 200))
        >>> int(allowed.sum()) == 190 ** 2, float(allowed[0, 0, 4, 100])
        (True, 0.0)
    """
    side = min(field.shape[2], field.shape[3])
    rim = max(int(0.025 * side + 0.5), 1)
    outside = pad((field < 0.5).to(field.dtype), [rim, rim, rim, rim], value=1.0)
    away = dilated(outside, rim)[:, :, rim:-rim, rim:-rim]
    if disc is not None:
        away = torch.maximum(away, dilated((disc >= 0.5).to(field.dtype), max(int(0.02 * side + 0.5), 1)))
    return 1 - away
