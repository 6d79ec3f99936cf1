"""Holes in photographs: their edges, and the colour of what lies around them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, pad


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
    return vessel * (1 - dilated((blood >= 0.4).to(vessel.dtype), 2))


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
