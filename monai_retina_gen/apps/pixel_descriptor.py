"""Small pictures for finding copies by their pixels, also flipped, turned upside down, shifted or made brighter."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

__all__ = ["FLIPS", "flipped", "pixel_descriptors"]

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

    Example:
        >>> x = torch.rand(2, 3, 64, 64) / 2
        >>> torch.allclose(pixel_descriptors(x), pixel_descriptors(x * 1.2 + 0.1), atol=1e-4)
        True
    """
    small = interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    if not moved:
        return _standardised(small)
    return torch.stack([_standardised(s) for f in flipped(small) for s in _shifted(f)])


def _shifted(images: Tensor) -> Iterator[Tensor]:
    reach = max(SHIFTS)
    padded = pad(images, (reach,) * 4, mode="replicate")
    for down in SHIFTS:
        for right in SHIFTS:
            yield padded[..., reach - down :, reach - right :][..., :SIDE, :SIDE]


def _standardised(small: Tensor) -> Tensor:
    smooth = avg_pool2d(small, 3, stride=1, padding=1, count_include_pad=False)
    inside = smooth[..., _disc()]  # (N, 3, pixels)
    luminance = (inside * torch.tensor(_LUMINANCE)[:, None]).sum(1, keepdim=True)
    channels = torch.cat([luminance, inside[:, :1] - luminance, inside[:, 2:] - luminance], dim=1)
    deviation = luminance.std(dim=2, keepdim=True).clamp(min=1e-4)  # a picture of one colour stays finite
    return ((channels - channels.mean(dim=2, keepdim=True)) / deviation).flatten(1)


def _disc() -> Tensor:
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    return axis[:, None] ** 2 + axis[None] ** 2 <= RADIUS**2
