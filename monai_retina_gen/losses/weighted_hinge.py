"""Hinge loss of several judges whose places do not count alike."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import relu

__all__ = ["WeightedHinge"]


class WeightedHinge:
    """Hinge loss (Lim and Ye 2017, arXiv:1705.02894), each place by its weight, averaged over judges.

    For a discriminator that returns `{"score": [...], "weight": [...]}`, such as `PaintingDiscriminator`. It begins at
    2; where nothing counts it is 0.

    Args:
        generator_weight: factor of the generator's term, where other terms are added to it.

    Raises:
        ValueError: for a negative factor.

    Examples:
        >>> import torch
        >>> loss, weight = WeightedHinge(), [torch.tensor([1.0, 0.0])]
        >>> real = {"score": [torch.tensor([0.5, 0.0])], "weight": weight}
        >>> fake = {"score": [torch.tensor([-0.5, 0.0])], "weight": weight}
        >>> loss.discriminator(real, fake).item(), loss.generator(fake).item()
        (1.0, 0.5)
    """

    def __init__(self, *, generator_weight: float = 1.0) -> None:
        if generator_weight < 0:
            raise ValueError(f"generator_weight must not be negative, got {generator_weight}")
        self.generator_weight = generator_weight

    def discriminator(self, real_scores: dict[str, Any], fake_scores: dict[str, Any]) -> Tensor:
        """`mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))`, to be minimised over the discriminator."""
        real = [relu(1 - score) for score in real_scores["score"]]
        fake = [relu(1 + score) for score in fake_scores["score"]]
        return _mean(real, real_scores["weight"]) + _mean(fake, fake_scores["weight"])

    def generator(self, fake_scores: dict[str, Any]) -> Tensor:
        """`-mean D(G(z))`, weighted."""
        return -self.generator_weight * _mean(fake_scores["score"], fake_scores["weight"])


def _mean(values: list[Tensor], weights: list[Tensor]) -> Tensor:
    pairs = zip(values, weights, strict=True)
    means = [(value * weight).sum() / weight.sum().clamp(min=1e-6) for value, weight in pairs]
    total = means[0]
    for mean in means[1:]:
        total = total + mean
    return total / len(means)
