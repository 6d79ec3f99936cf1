"""Small pictures for finding copies by their pixels, also flipped, turned upside down, shifted or made brighter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

SIDE = 32
RADIUS = 0.75
SHIFTS = (-2, -1, 0, 1, 2)
FLIPS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
_LUMINANCE = (0.299, 0.587, 0.114)


def flipped(images: Tensor) -> Iterator[Tensor]:
    """The images as they are, mirrored left to right, top to bottom, and both."""
    for dims in FLIPS:
        yield images.flip(dims) if dims else images


def pixel_descriptors(images: Tensor, *, moved: bool = False) -> Tensor:
    """Luminance and two colour differences at 32 x 32, inside a disc, without brightness and contrast.

    Luminance is standardised within the disc, the colour differences lose their mean and are divided by the same
    deviation: `a * image + b` has the descriptor of `image`, so that a brighter copy is as near as an exact one. The
    disc, 0.75 of the field of view, keeps the border and the black ground out also where a copy is shifted, and a mean
    over 3 x 3 pixels bridges shifts between whole pixels.

    Args:
        images: `(N, 3, S, S)` in [0, 1], cropped to the field of view.
        moved: also of the four flips, each shifted by up to two of 32 pixels (6 % of the diameter) in both directions.

    Returns:
        `(N, d)`, or `(100, N, d)` where `moved`, float32.

    Examples:
        >>> x = torch.rand(2, 3, 64, 64) / 2
        >>> torch.allclose(pixel_descriptors(x), pixel_descriptors(x * 1.2 + 0.1), atol=1e-4)
        True
    """
    small = interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    smooth = avg_pool2d(small, 3, stride=1, padding=1, count_include_pad=False)
    if not moved:
        return _standardised(smooth, (0,))[0]
    return torch.cat([_standardised(x, SHIFTS) for x in flipped(smooth)])


def _standardised(smooth: Tensor, shifts: Sequence[int]) -> Tensor:
    """Descriptors of all shifts down and right, `(V, N, d)`."""
    inside = _shifted_discs(smooth, shifts)  # (V, N, 3, pixels)
    luminance = (inside * torch.tensor(_LUMINANCE)[:, None]).sum(2, keepdim=True)
    channels = torch.cat([luminance, inside[:, :, :1] - luminance, inside[:, :, 2:] - luminance], dim=2)
    deviation = luminance.std(dim=3, keepdim=True).clamp(min=1e-4)  # a picture of one colour stays finite
    return ((channels - channels.mean(dim=3, keepdim=True)) / deviation).flatten(2)


def _shifted_discs(smooth: Tensor, shifts: Sequence[int]) -> Tensor:
    reach = max(SHIFTS)
    padded = pad(smooth, (reach,) * 4, mode="replicate")
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    rows, columns = (axis[:, None] ** 2 + axis[None] ** 2 <= RADIUS**2).nonzero(as_tuple=True)
    parts = [padded[:, :, rows + reach - down, columns + reach - right] for down in shifts for right in shifts]
    return torch.stack(parts)
