"""Ratio of the distances to the nearest training and the nearest held-out image: finds single copies."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_retina_gen.metrics.features import check_features
from monai_retina_gen.metrics.neighbours import nearest_distance

__all__ = ["copied_share", "nearest_ratio", "ratio_of_distances"]


def nearest_ratio(train: Tensor, holdout: Tensor, generated: Tensor) -> Tensor:
    """Each generated image's distance to the nearest training over that to the nearest held-out image.

    About 1 for fresh images, near 0 for copies. With unequal numbers of training and held-out images the
    larger set is nearer by chance: pass equal numbers, split by patient.

    Args:
        train: (n, d) features of the generator's training images.
        holdout: (n, d) features of real images that the generator has not seen.
        generated: (m, d) features of generated images.

    Returns:
        float64 (m,), at least 0; infinite where only the held-out image coincides, 1 where both do.

    Raises:
        ValueError: for unequal numbers of training and held-out images, no row, unequal d, NaN or infinite
            features.

    Examples:
        >>> train, holdout = torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [8.0]])
        >>> nearest_ratio(train, holdout, torch.tensor([[0.0], [3.0]])).tolist()
        [0.0, 0.5]
    """
    if len(train) != len(holdout):
        raise ValueError(
            f"{len(train)} training and {len(holdout)} held-out features: pass a random subset of the larger "
            "set, so that neither is nearer by number"
        )
    train, generated = check_features(train, generated, minimum=1)
    holdout, _ = check_features(holdout.to(train.device), generated, minimum=1)
    return ratio_of_distances(nearest_distance(generated, train)[0], nearest_distance(generated, holdout)[0])


def ratio_of_distances(to_train: Tensor, to_holdout: Tensor) -> Tensor:
    """Nearest training distance over nearest held-out distance, of equal shapes; 1 where both are equal.

    Examples:
        >>> ratio_of_distances(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 0.0])).tolist()
        [0.5, 1.0]
    """
    return torch.where(to_train == to_holdout, 1.0, to_train / to_holdout)


def copied_share(ratios: Tensor, threshold: float = 0.5) -> Tensor:
    """Share of generated images whose `nearest_ratio` is below the threshold: the means hide single copies.

    Examples:
        >>> copied_share(torch.tensor([0.1, 0.9, 1.1, 1.0])).item()
        0.25
    """
    return (ratios < threshold).double().mean()
