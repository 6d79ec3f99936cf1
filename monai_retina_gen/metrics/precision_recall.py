"""Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from monai_retina_gen.metrics.features import FeatureExtractor, FeatureMetric, check_features
from monai_retina_gen.metrics.neighbours import distance_blocks, neighbour_radii

__all__ = ["PrecisionRecall", "PrecisionRecallResult", "precision_recall"]


class PrecisionRecallResult(NamedTuple):
    """Shares in [0, 1], float64 scalars."""

    precision: Tensor
    recall: Tensor


def precision_recall(real: Tensor, generated: Tensor, *, k: int = 3) -> PrecisionRecallResult:
    """Share of generated images on the manifold of the real ones, and of real ones on that of the generated.

    The manifold of a set is the union of balls around its rows that reach to the k-th nearest other row
    (Eq. 1); a distance equal to the radius is inside. Two samples of one distribution give about 0.7 to 0.85,
    not 1: print the figures of real against real beside these. Memory is bounded: distances come in blocks.

    Args:
        real: (n, d) features of real images.
        generated: (m, d) features of generated images.
        k: neighbour that sets the radius.

    Raises:
        ValueError: unless both sets have more than k rows; for unequal d, NaN or infinite features.

    Examples:
        >>> x = torch.arange(10.0)[:, None]
        >>> [share.item() for share in precision_recall(x, x[:5])]
        [1.0, 0.8]
    """
    real, generated = check_features(real, generated, minimum=k + 1)
    return PrecisionRecallResult(
        precision=_share_inside(generated, real, neighbour_radii(real, k)),
        recall=_share_inside(real, generated, neighbour_radii(generated, k)),
    )


def _share_inside(queries: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    inside = [(distances <= radii).any(dim=1) for _, distances in distance_blocks(queries, centres)]
    return torch.cat(inside).double().mean()


class PrecisionRecall(FeatureMetric):
    """Ignite metric of `precision_recall`: a dictionary with `precision` and `recall`.

    Args:
        feature_extractor: see `FeatureMetric`.
        k: see `precision_recall`.
        **kwargs: `output_transform` and `device` of `FeatureMetric`.
    """

    def __init__(self, *, feature_extractor: FeatureExtractor, k: int = 3, **kwargs: Any) -> None:
        self.k = k
        super().__init__(feature_extractor=feature_extractor, **kwargs)

    def _from_features(self, real: Tensor, generated: Tensor) -> dict[str, float]:
        return {name: float(v) for name, v in precision_recall(real, generated, k=self.k)._asdict().items()}
