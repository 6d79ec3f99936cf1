"""Laplacian pyramid (Burt and Adelson 1983) with the binomial 5x5 filter."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from monai_retina_gen.errors import ImageValueError

SMALLEST_LEVEL = 16


def pyramid_sizes(size: int) -> list[int]:
    """Sides of the pyramid's levels for images of side `size`: halved while even and at least 16 after it.

    Raises:
        monai_retina_gen.errors.ImageValueError: if `size` is below 16.

    Examples:
        >>> pyramid_sizes(100)
        [100, 50, 25]
    """
    if size < SMALLEST_LEVEL:
        raise ImageValueError(f"images of {size} pixels: the smallest level has {SMALLEST_LEVEL}, pass larger ones")
    sizes = [size]
    while sizes[-1] % 2 == 0 and sizes[-1] // 2 >= SMALLEST_LEVEL:
        sizes.append(sizes[-1] // 2)
    return sizes


def laplacian_pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """Band-pass levels of (B, C, S, S) images, finest first; the last is the low-pass rest.

    The filter is the outer product of [1, 4, 6, 4, 1] / 16, with mirrored borders.

    Args:
        images: (B, C, S, S), floating.
        levels: number of levels; each has half the side of the one before (rounded up).

    Returns:
        The levels; enlarged and added up they give the images back.

    Examples:
        >>> import torch
        >>> [tuple(level.shape[-2:]) for level in laplacian_pyramid(torch.rand(1, 3, 64, 64), levels=3)]
        [(64, 64), (32, 32), (16, 16)]
    """
    pyramid = []
    for _ in range(levels - 1):
        smaller = _blur(images)[..., ::2, ::2]
        enlarged = smaller.new_zeros(images.shape)
        enlarged[..., ::2, ::2] = smaller
        pyramid.append(images - 4 * _blur(enlarged))
        images = smaller
    return [*pyramid, images]


def _blur(images: Tensor) -> Tensor:
    taps = images.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    channels = images.shape[1]
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
    rows = F.conv2d(padded, taps.view(1, 1, 1, 5).expand(channels, -1, -1, -1), groups=channels)
    return F.conv2d(rows, taps.view(1, 1, 5, 1).expand(channels, -1, -1, -1), groups=channels)
