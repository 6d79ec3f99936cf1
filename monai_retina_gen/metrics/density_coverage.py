"""Density and coverage (Naeem et al. 2020, arXiv:2002.09797): robust companions of precision and recall."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_retina_gen.metrics.features import FeatureExtractor, FeatureMetric, check_features
from monai_retina_gen.metrics.neighbours import distance_blocks, neighbour_radii

__all__ = ["DensityCoverage", "DensityCoverageResult", "density_coverage"]


class DensityCoverageResult(NamedTuple):
    """Density (at least 0, may exceed 1) and coverage (share in [0, 1]), float64 scalars."""

    density: Tensor
    coverage: Tensor


def density_coverage(real: Tensor, generated: Tensor, *, k: int = 5) -> DensityCoverageResult:
    """How densely generated images fill the neighbourhoods of real ones, and how many of these they reach.

    A neighbourhood is the ball around a real row that reaches to its k-th nearest other real row. Density is
    the number of neighbourhoods around a generated row, averaged and divided by k (Eq. 4); coverage the share
    of neighbourhoods with a generated row inside (Eq. 5). A distance equal to the radius is inside. Memory is
    bounded: distances come in blocks.

    Args:
        real: (n, d) features of real images.
        generated: (m, d) features of generated images.
        k: neighbour that sets the radius.

    Raises:
        ValueError: with no more than k real rows, no generated row, unequal d, NaN or infinite features.

    Examples:
        >>> x = torch.arange(10.0)[:, None]
        >>> density_coverage(x, x[:5], k=1).coverage.item()
        0.6
    """
    real, generated = check_features(real, generated, minimum=1)
    radii = neighbour_radii(real, k)
    memberships, covered = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for _, distances in distance_blocks(generated, real):
        inside = distances <= radii
        memberships += int(inside.sum())
        covered |= inside.any(dim=0)
    density = real.new_tensor(memberships / (k * len(generated)))
    return DensityCoverageResult(density, covered.double().mean())


class DensityCoverage(FeatureMetric):
    """Ignite metric of `density_coverage`: a dictionary with `density` and `coverage`.

    Args:
        feature_extractor: see `FeatureMetric`.
        k: see `density_coverage`.
        **kwargs: `output_transform` and `device` of `FeatureMetric`.
    """

    def __init__(self, *, feature_extractor: FeatureExtractor, k: int = 5, **kwargs: Any) -> None:
        self.k = k
        super().__init__(feature_extractor=feature_extractor, **kwargs)

    def _from_features(self, real: Tensor, generated: Tensor) -> dict[str, float]:
        return {name: float(v) for name, v in density_coverage(real, generated, k=self.k)._asdict().items()}
