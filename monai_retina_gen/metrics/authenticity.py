"""Authenticity (Alaa et al. 2022, arXiv:2102.08921): the share of generated images that are no copies."""

from __future__ import annotations

from torch import Tensor

from monai_retina_gen.metrics.features import check_features
from monai_retina_gen.metrics.neighbours import nearest_distance, neighbour_radii

__all__ = ["authenticity_share"]


def authenticity_share(train: Tensor, generated: Tensor) -> Tensor:
    """Share of generated images that lie farther from their nearest training image than that from its own.

    Generated image g is authentic if d(g, NN) > d(NN, NN's nearest other training image). Fresh images of the
    same distribution do not reach 1 (about 0.7 in toy data): print the share of held-out real images, in
    place of generated ones, beside it. Copies lower it only by their own share: look at `nearest_ratio` too.

    Args:
        train: (n, d) features of the generator's training images, n >= 2.
        generated: (m, d) features of generated, or of held-out, images.

    Returns:
        float64 scalar in [0, 1]; 0 if all are exact copies.

    Raises:
        ValueError: with fewer than two rows in a set, unequal d, NaN or infinite features.

    Examples:
        >>> import torch
        >>> train = torch.arange(6.0)[:, None]
        >>> authenticity_share(train, torch.tensor([[0.0], [1.1], [9.0], [7.0]])).item()
        0.5
    """
    train, generated = check_features(train, generated)
    distances, nearest = nearest_distance(generated, train)
    return (distances > neighbour_radii(train, k=1)[nearest]).double().mean()
