"""Frechet distance of features (FID; Heusel et al. 2017, arXiv:1706.08500) without matrix roots."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from monai_retina_gen.metrics.features import check_features

CHUNK_ROWS = 4096


def frechet_distance(real: Tensor, generated: Tensor) -> Tensor:
    r"""Frechet distance of two sets of features, each taken as Gaussian.

    .. math:: \lVert\mu_r-\mu_g\rVert^2 + \mathrm{tr}\,\Sigma_r + \mathrm{tr}\,\Sigma_g
              - 2\,\mathrm{tr}(\Sigma_r\Sigma_g)^{1/2}

    With centred rows A, B scaled so that :math:`\Sigma_r = A^T A`, :math:`\Sigma_g = B^T B`, the last trace
    is the nuclear norm of :math:`A B^T`: exact also where a covariance is singular. A set of more than d rows
    is first reduced to d by a QR decomposition in chunks. All in float64.

    The estimate is biased upwards by a term of order 1/n: compare at equal n only, beside the figure of real
    against real.

    Args:
        real: (n, d) features of real images.
        generated: (m, d) features of generated images.

    Returns:
        float64 scalar, at least 0.

    Raises:
        ValueError: with fewer than two rows in a set, unequal d, NaN or infinite features.

    Warns:
        UserWarning: if a set has n <= d rows: its covariance has not full rank, and the figure cannot be
            compared with published ones.

    Examples:
        >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        >>> round(frechet_distance(x, x + 2.0).item(), 6)
        16.0
    """
    real, generated = check_features(real, generated)
    if is_rank_deficient(real, generated):
        warnings.warn(
            f"FID of {len(real)} real and {len(generated)} generated images with d = {real.shape[1]} "
            "features is rank-deficient: not comparable with papers",
            stacklevel=2,
        )
    return distance_of_checked(real, generated)


def is_rank_deficient(real: Tensor, generated: Tensor) -> bool:
    """Whether a set has no more rows than features, so that its covariance is singular."""
    return min(len(real), len(generated)) <= real.shape[1]


def distance_of_checked(real: Tensor, generated: Tensor) -> Tensor:
    """`frechet_distance` of float64 features that `check_features` has passed, without the warning."""
    mean_real, mean_generated = real.mean(dim=0), generated.mean(dim=0)
    a, b = _covariance_factor(real, mean_real), _covariance_factor(generated, mean_generated)
    nuclear_norm = torch.linalg.svdvals(a @ b.T).sum()
    shift = (mean_real - mean_generated).square().sum()
    distance = shift + a.square().sum() + b.square().sum() - 2 * nuclear_norm
    return distance.clamp(min=0.0)  # identical sets end at some -1e-13 of rounding


def _covariance_factor(features: Tensor, mean: Tensor) -> Tensor:
    """Rows F, at most d of them where n > d, with F^T F the unbiased covariance."""
    scale = (len(features) - 1) ** 0.5
    if len(features) <= features.shape[1]:
        return (features - mean) / scale
    factor = features.new_zeros(0, features.shape[1])
    for chunk in features.split(CHUNK_ROWS):
        factor = torch.linalg.qr(torch.cat([factor, (chunk - mean) / scale]), mode="r").R
    return factor
