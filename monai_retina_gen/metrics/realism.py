"""Realism score of single images (Kynkaanniemi et al. 2019, arXiv:1904.06991, Eq. 3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.metrics.features import FeatureExtractor, FeatureMetric, check_features
from monai_retina_gen.metrics.neighbours import distance_blocks, neighbour_radii

__all__ = ["Realism", "realism_score"]


def realism_score(real: Tensor, generated: Tensor, *, k: int = 3) -> Tensor:
    r"""How near each generated image is to the manifold of the real ones.

    .. math:: R(\phi_g) = \max_{\phi_r}
              \frac{\lVert\phi_r - \mathrm{NN}_k(\phi_r)\rVert}{\lVert\phi_g - \phi_r\rVert}

    over the real rows whose radius (the numerator) is at most the median radius: the paper prunes the larger
    half, since few and wide balls of sparse regions would call anything real. At least 1 means inside a ball.

    Args:
        real: (n, d) features of real images.
        generated: (m, d) features of generated images.
        k: neighbour that sets the radius.

    Returns:
        float64 (m,), at least 0; infinite for an image that coincides with a kept real one (a copy: the most
        real and the least wanted).

    Raises:
        ValueError: with no more than k real rows, no generated row, unequal d, NaN or infinite features.

    Examples:
        >>> real = torch.arange(10.0)[:, None]
        >>> realism_score(real, torch.tensor([[2.5], [30.0]]), k=1).tolist()
        [2.0, 0.0476...]
    """
    real, generated = check_features(real, generated, minimum=1)
    radii = neighbour_radii(real, k)
    kept = radii <= radii.quantile(0.5)
    real, radii = real[kept], radii[kept]
    scores = [
        torch.where(distances == 0, float("inf"), radii / distances).amax(dim=1)
        for _, distances in distance_blocks(generated, real)
    ]
    return torch.cat(scores)


class Realism(FeatureMetric):
    """Ignite metric of `realism_score`: `realism_median`, and `realism_share`, the share of scores >= 1.

    Args:
        feature_extractor: see `FeatureMetric`.
        k: see `realism_score`.
        **kwargs: `output_transform` and `device` of `FeatureMetric`.
    """

    def __init__(self, *, feature_extractor: FeatureExtractor, k: int = 3, **kwargs: Any) -> None:
        self.k = k
        super().__init__(feature_extractor=feature_extractor, **kwargs)

    def _from_features(self, real: Tensor, generated: Tensor) -> dict[str, float]:
        scores = realism_score(real, generated, k=self.k)
        return {
            "realism_median": float(scores.median()),
            "realism_share": float((scores >= 1).double().mean()),
        }
