"""Sliced Wasserstein distance of image patches (Karras et al. 2018, arXiv:1710.10196, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.metrics.metric import reinit__is_reduced
from torch import Tensor
from torch.nn import functional as F

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.metrics.base import FundusMetric, OutputTransform
from monai_retina_gen.metrics.image_pairs import check_images
from monai_retina_gen.metrics.laplacian_pyramid import laplacian_pyramid, pyramid_sizes

__all__ = ["SlicedWasserstein", "sliced_wasserstein_distance"]

PATCH = 7
IMAGES_AT_A_TIME = 32
DIRECTIONS_AT_A_TIME = 16


def sliced_wasserstein_distance(
    real: Tensor,
    generated: Tensor,
    *,
    patches_per_image: int = 128,
    directions: int = 512,
    seed: int = 0,
) -> dict[str, float]:
    """Distance of 7x7 patches' distributions, per level of a Laplacian pyramid and averaged, times 1000.

    Per level: `patches_per_image` random patches of every image, normalised per channel by mean and standard
    deviation over the set, are projected on random unit directions; the distance of a direction is the mean
    difference of the sorted projections. Images are rounded to 8 bit first, as photographs are. Like FID it
    is biased upwards at small n: state n and the levels, and compare at equal n.

    Memory is that of the patches of one level (753 MB a set of 10,000 images), not of the pyramid.

    Args:
        real: (n, C, S, S) real images, float in [0, 1], or uint8 to hold many of them.
        generated: (n, C, S, S) generated images, as many as real ones, of the same size.
        patches_per_image: patches of each image and level (paper: 128).
        directions: random directions (paper: 4 times 128).
        seed: of patches and directions.

    Returns:
        `swd_<S>` for each level of side S, S halved while it is even and stays at least 16, and their mean
        `swd_mean`.

    Raises:
        monai_retina_gen.errors.ImageValueError: for images of another kind, not square, under 16 pixels, or
            unequal shapes.
        ValueError: for less than one patch or direction.

    Example:
        >>> x = torch.rand(2, 3, 32, 32)
        >>> sorted(sliced_wasserstein_distance(x, x, patches_per_image=8, directions=4))
        ['swd_16', 'swd_32', 'swd_mean']
    """
    _check_sets(real, generated)
    if patches_per_image < 1 or directions < 1:
        raise ValueError(f"patches_per_image = {patches_per_image}, directions = {directions}: pass at least 1 each")
    generator = torch.Generator().manual_seed(seed)
    sizes = pyramid_sizes(real.shape[-1])
    distances = {}
    for level, size in enumerate(sizes):
        a, b = (_level_patches(x, level, patches_per_image, generator) for x in (real, generated))
        distances[f"swd_{size}"] = 1e3 * _patch_distance(a, b, directions, generator)
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


def _to_bytes(images: Tensor) -> Tensor:
    return images if images.dtype == torch.uint8 else images.mul(255).round().to(torch.uint8)


def _level_patches(images: Tensor, level: int, count: int, generator: torch.Generator) -> Tensor:
    """Normalised patches, (n * count, C * 49), of one level of all images."""
    levels = min(level + 2, len(pyramid_sizes(images.shape[-1])))  # no level below the next is needed
    patches = torch.empty(len(images) * count, images.shape[1], PATCH * PATCH, device=images.device)
    for start in range(0, len(images), IMAGES_AT_A_TIME):
        chunk = _to_bytes(images[start : start + IMAGES_AT_A_TIME]).float()
        found = _random_patches(laplacian_pyramid(chunk, levels)[level], count, generator)
        patches[start * count : start * count + len(found)] = found
    std, mean = torch.std_mean(patches, dim=(0, 2), correction=0, keepdim=True)
    # A level without structure (constant images) has rounding noise only: it stays near zero.
    return patches.sub_(mean).div_(std.clamp(min=1e-2)).flatten(1)


def _random_patches(band: Tensor, count: int, generator: torch.Generator) -> Tensor:
    windows = band.unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # (B, C, S - 6, S - 6, 7, 7), a view
    corners = torch.randint(windows.shape[2], (2, len(band), count), generator=generator).to(band.device)
    image = torch.arange(len(band), device=band.device)[:, None]
    return windows[image, :, corners[0], corners[1]].flatten(0, 1).flatten(2)


def _patch_distance(real: Tensor, generated: Tensor, directions: int, generator: torch.Generator) -> float:
    """Mean over random unit directions of the 1-D Wasserstein distance of the projections."""
    normals = F.normalize(torch.randn(directions, real.shape[1], generator=generator), dim=1).to(real.device)
    total = 0.0
    for chunk in normals.split(DIRECTIONS_AT_A_TIME):
        difference = _sorted_rows(chunk @ real.T).sub_(_sorted_rows(chunk @ generated.T)).abs_()
        total += float(difference.mean(dim=1, dtype=torch.float64).sum())
    return total / directions


def _sorted_rows(values: Tensor) -> Tensor:
    if values.device.type == "cpu":
        values.numpy().sort(axis=1)  # in place and several times as fast as torch.sort, which keeps indices
        return values
    return values.sort(dim=1).values


class SlicedWasserstein(FundusMetric):
    """Ignite metric of `sliced_wasserstein_distance`; images are kept as uint8, equal to the function on all.

    Args:
        patches_per_image: see `sliced_wasserstein_distance`.
        directions: see `sliced_wasserstein_distance`.
        seed: see `sliced_wasserstein_distance`.
        output_transform: see `ignite.metrics.Metric`; must give `(y_pred, y)`, generated and real images, in
            the end as many of each.
        device: where the images are kept and compared.

    Raises:
        ignite.exceptions.NotComputableError: in `compute`, before any update.
    """

    def __init__(
        self,
        *,
        patches_per_image: int = 128,
        directions: int = 512,
        seed: int = 0,
        output_transform: OutputTransform = lambda output: output,
        device: str | torch.device = "cpu",
    ) -> None:
        self.options: dict[str, Any] = {
            "patches_per_image": patches_per_image,
            "directions": directions,
            "seed": seed,
        }
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget all images."""
        self._generated: list[Tensor] = []
        self._real: list[Tensor] = []

    @reinit__is_reduced
    def update(self, output: Sequence[Tensor]) -> None:
        """Keep one batch of `(generated, real)` images."""
        stores = (self._generated, self._real)
        for name, images, store in zip(("y_pred", "y"), self._plain(output), stores, strict=True):
            store.append(_to_bytes(check_images(name, images)).to(self._device))

    def compute(self) -> dict[str, float]:
        """The figures of all batches of all processes."""
        real, generated = self._gather(self._real), self._gather(self._generated)
        return sliced_wasserstein_distance(real, generated, **self.options)
