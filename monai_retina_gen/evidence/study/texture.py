"""Texture of generated images: matching photographs to it, and telling generated images by it.

A generator's blur is a mark. If rare, severe grades are generated more often than others, a grader can learn that
blurred means severe. `match_texture` gives photographs the same mark without the generator's pathology.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor

from monai_retina_gen.metrics import laplacian_pyramid
from monai_retina_gen.transforms.box_geometry import resize_square

from .photographs import Photographs

STEPS = 12  # of the bisection: sigma to 1/500 pixel
LARGEST_SIGMA = 8.0
CHUNK = 64


def match_texture(photographs: Photographs, generated: Tensor, grades: Sequence[int]) -> tuple[Tensor, float]:
    """Bring photographs to the resolution and blur of generated images `(M, 3, S, S)` uint8 and their grades.

    They are shrunk to the size of the generated images where that is smaller and enlarged again, then blurred with the
    Gaussian whose width gives the finest level of the Laplacian pyramid the energy that it has in generated images of
    the same mixture of grades. Edits have the photographs' size: they are not shrunk.

    Returns:
        `(N, 3, S, S)` float32 in [0, 1], and the width of the Gaussian in pixels; 0 where generated images are not more
        blurred than photographs.
    """
    images, size = photographs.floats(), photographs.images.shape[-1]
    if generated.shape[-1] < size:
        small = [resize_square(image, generated.shape[-1], "bilinear") for image in images]
        images = torch.stack([resize_square(image, size, "bilinear") for image in small])
    made = torch.stack([resize_square(image.float() / 255, size, "bilinear") for image in generated])
    # a grade that was not generated has no say in how sharp generated images are
    weights = torch.tensor([(g in grades) / photographs.grades.count(g) for g in photographs.grades])
    shares = torch.tensor([1.0 / list(grades).count(g) for g in grades])
    wanted = _fine_energy(made, shares)
    low, high = 0.0, LARGEST_SIGMA
    if _fine_energy(images, weights) <= wanted:
        return images, 0.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        sharper = _fine_energy(_blur(images, middle), weights) > wanted
        low, high = (middle, high) if sharper else (low, middle)
    return _blur(images, high), high


def _blur(images: Tensor, sigma: float) -> Tensor:
    blur = GaussianFilter(2, sigma)
    return torch.cat([blur(part) for part in images.split(CHUNK)]).clamp(0, 1)


def _fine_energy(images: Tensor, weights: Tensor) -> float:
    energies = torch.cat([laplacian_pyramid(part, 2)[0].square().mean((1, 2, 3)) for part in images.split(CHUNK)])
    return float((energies * weights).sum() / weights.sum())


def texture_features(images: Tensor) -> Tensor:
    """Texture and colour of `(N, 3, S, S)` images, uint8 or float32 in [0, 1].

    `(N, 18)`: log energy of four levels of the Laplacian pyramid, mean and standard deviation, of every channel.

    Examples:
        >>> texture_features(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 18])
    """
    return torch.cat([_features(part) for part in images.split(CHUNK)])


def _features(images: Tensor) -> Tensor:
    images = images.float() / 255 if images.dtype == torch.uint8 else images
    levels = laplacian_pyramid(images, 5)[:-1]
    energies = [level.square().mean((2, 3)).clamp(min=1e-12).log() for level in levels]
    return torch.cat([*energies, images.mean((2, 3)), images.std((2, 3))], dim=1)
