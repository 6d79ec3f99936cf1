"""Sliced Wasserstein distance of image patches (Karras et al. 2018, arXiv:1710.10196, section 5)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.metrics.base import check_images

SMALLEST_LEVEL = 16


def pyramid_sizes(size: int) -> list[int]:
    """Sides of the pyramid's levels for images of side `size`: halved while even and at least 16 after it."""
    if size < SMALLEST_LEVEL:
        raise ImageValueError(f"images of {size} pixels: the smallest level has {SMALLEST_LEVEL}, pass larger ones")
    sizes = [size]
    while sizes[-1] % 2 == 0 and sizes[-1] // 2 >= SMALLEST_LEVEL:
        sizes.append(sizes[-1] // 2)
    return sizes


def laplacian_pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """Band-pass levels of (B, C, S, S) images, finest first; the last is the low-pass rest.

    The filter is the outer product of [1, 4, 6, 4, 1] / 16, with mirrored borders; each level has half the side of the
    one before (rounded up). Enlarged and added up the levels give the images back.
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


PATCH = 7
IMAGES_AT_A_TIME = 32  # the draws of corners depend on it: another number is another sample of patches
CHUNKS_AT_A_TIME = 4
DIRECTIONS_AT_A_TIME = 32
BINS, BINS_PER_UNIT = 32768, 1024  # projections from -16 to 16; their variance is 1 in the mean over directions


def sliced_wasserstein_distance(
    real: Tensor, generated: Tensor, *, patches_per_image: int = 128, directions: int = 512, seed: int = 0
) -> dict[str, float]:
    """Distance of 7x7 patches' distributions, per level of a Laplacian pyramid and averaged, times 1000.

    Per level: `patches_per_image` random patches of every image, normalised per channel by mean and standard
    deviation over the set, are projected on random unit directions; the distance of a direction is the mean
    difference of the sorted projections. Images are rounded to 8 bit first, as photographs are. Like FID it
    is biased upwards at small n: state n and the levels, and compare at equal n.

    Memory does not grow with the number of images: patches are made anew for each of two passes, and projections
    are not sorted but counted in bins of 1/1024, each with the sum of its values' offsets. From these the area between
    the two distribution functions, which is the mean difference of the sorted projections, follows exactly wherever
    the functions do not cross inside a bin, and to far below the sampling error where they do.

    Args:
        real: (n, C, S, S) real images, float in [0, 1], or uint8 to hold many of them.
        generated: (n, C, S, S) generated images, as many as real ones, of the same size.
        patches_per_image: patches of each image and level (paper: 128).
        directions: random directions (paper: 4 times 128).
        seed: of patches and directions.

    Returns:
        `swd_<S>` for each level of side S, S halved while it is even and stays at least 16, and their mean
        `swd_mean`.
    """
    _check_sets(real, generated)
    if patches_per_image < 1 or directions < 1:
        raise ValueError(f"patches_per_image = {patches_per_image}, directions = {directions}: pass at least 1 each")
    generator = torch.Generator().manual_seed(seed)
    sizes = pyramid_sizes(real.shape[-1])
    distances = {}
    for level, size in enumerate(sizes):
        a, b = (_LevelPatches(x, level, patches_per_image, generator) for x in (real, generated))
        normals = F.normalize(torch.randn(directions, len(a.mean) * PATCH * PATCH, generator=generator), dim=1)
        distances[f"swd_{size}"] = 1e3 * _patch_distance(a, b, normals.to(real.device))
    return {**distances, "swd_mean": sum(distances.values()) / len(sizes)}


def _check_sets(real: Tensor, generated: Tensor) -> None:
    for name, images in (("real", real), ("generated", generated)):
        if images.dtype != torch.uint8:
            check_images(name, images)
        if images.ndim != 4 or images.numel() == 0 or images.shape[-1] != images.shape[-2]:
            raise ImageValueError(f"{name} has shape {tuple(images.shape)}: pass square images (n, C, S, S)")
    if real.shape != generated.shape:
        raise ImageValueError(
            f"real has shape {tuple(real.shape)} and generated {tuple(generated.shape)}: "
            "pass equal numbers of images of one size"
        )


class _LevelPatches:
    """Normalised patches of one level of a set: iterated in blocks (b, C * 49), made anew each time, not held."""

    def __init__(self, images: Tensor, level: int, count: int, generator: torch.Generator) -> None:
        self.images, self.level, self.count = images, level, count
        self.levels = min(level + 2, len(pyramid_sizes(images.shape[-1])))  # no level below the next is needed
        self.state = generator.get_state()
        self.mean, self.std = self._moments(generator)

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator()
        generator.set_state(self.state)
        chunks = self._chunks(generator)
        while block := list(itertools.islice(chunks, CHUNKS_AT_A_TIME)):
            yield torch.cat(block).sub_(self.mean).div_(self.std).flatten(1)

    def _chunks(self, generator: torch.Generator) -> Iterator[Tensor]:
        """Patches, (b, C, 49), as they are."""
        for images in self.images.split(IMAGES_AT_A_TIME):
            values = images if images.dtype == torch.uint8 else images.mul(255).round()
            # All images as channels of one: the same filter, several times as fast.
            planes = values.float().flatten(0, 1)[None]
            band = laplacian_pyramid(planes, self.levels)[self.level].unflatten(1, images.shape[:2])[0]
            yield _random_patches(band, self.count, generator)

    def _moments(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over all patches, (C, 1)."""
        sums, number = torch.zeros(2, self.images.shape[1], dtype=torch.float64, device=self.images.device), 0
        for patches in self._chunks(generator):
            values = patches.double()
            sums += torch.stack([values.sum((0, 2)), values.square().sum((0, 2))])
            number += len(patches) * PATCH * PATCH
        mean = sums[0] / number
        std = (sums[1] / number - mean**2).clamp(min=0).sqrt()
        # A level without structure (constant images) has rounding noise only: it stays near zero.
        return mean.float()[:, None], std.clamp(min=1e-2).float()[:, None]


def _random_patches(band: Tensor, count: int, generator: torch.Generator) -> Tensor:
    windows = band.unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # (B, C, S - 6, S - 6, 7, 7), a view
    corners = torch.randint(windows.shape[2], (2, len(band), count), generator=generator).to(band.device)
    image = torch.arange(len(band), device=band.device)[:, None]
    return windows[image, :, corners[0], corners[1]].flatten(0, 1).flatten(2)


def _patch_distance(real: Iterable[Tensor], generated: Iterable[Tensor], normals: Tensor) -> float:
    """Mean over unit directions of the 1-D Wasserstein distance of the projections, the area between their CDFs.

    In units of a bin, with `c` the difference of the counts up to and including bin k and `r` that of the sums of the
    offsets from the bin's lower end, the area over bin k is `|c - r|` unless the CDFs cross inside. The outermost
    bins are open: the formula holds there too.
    """
    shape, device = (len(normals), BINS), normals.device
    counts = torch.zeros(shape, dtype=torch.int32, device=device)
    offsets = torch.zeros(shape, dtype=torch.float64, device=device)
    number = _count(real, normals, counts, offsets)
    counts.neg_()
    offsets.neg_()
    _count(generated, normals, counts, offsets)
    areas = (row.cumsum(0).double().sub_(offset).abs_().sum() for row, offset in zip(counts, offsets, strict=True))
    return float(sum(areas)) / BINS_PER_UNIT / number / len(normals)


def _count(blocks: Iterable[Tensor], normals: Tensor, counts: Tensor, offsets: Tensor) -> int:
    """Add the projections of all patches to the bins of each direction; returns the number of patches."""
    number, firsts = 0, torch.arange(len(normals), device=normals.device)[:, None] * BINS
    for patches in blocks:
        number += len(patches)
        for start in range(0, len(normals), DIRECTIONS_AT_A_TIME):
            rows = slice(start, start + DIRECTIONS_AT_A_TIME)
            projections = (normals[rows] * BINS_PER_UNIT @ patches.T).add_(BINS // 2)
            bins = projections.clamp(0, BINS - 1).long()
            above = projections.sub_(bins).double().flatten()
            keys = bins.add_(firsts[rows]).flatten()
            counts.view(-1).scatter_add_(0, keys, torch.ones_like(keys, dtype=torch.int32))
            offsets.view(-1).scatter_add_(0, keys, above)
    return number
