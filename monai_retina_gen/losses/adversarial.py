"""Adversarial losses: Wasserstein, non-saturating, least squares, hinge, and those of several discriminators.

Sources: Arjovsky et al. 2017, arXiv:1701.07875; Goodfellow et al. 2014; Mao et al. 2017, arXiv:1611.04076; Lim and Ye
2017, arXiv:1705.02894; of several, Zhou et al. (DR-GAN), Eq. 1, first term.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus


class _Weighted:
    def __init__(self, *, generator_weight: float = 1.0) -> None:
        if generator_weight < 0:
            raise ValueError(f"generator_weight must not be negative, got {generator_weight}")
        self.generator_weight = generator_weight


class WassersteinLoss:
    """Estimate of the Wasserstein-1 distance, its sign turned for the critic: the first two terms of Kim et al., Eq. 1.

    Examples:
        >>> loss, real, fake = WassersteinLoss(), torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0])
        >>> loss.discriminator(real, fake).item(), loss.generator(fake).item()
        (-1.5, -0.5)
    """

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """`mean D(G(z)) - mean D(x)`, to be minimised over the critic."""
        return fake_scores.mean() - real_scores.mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """`-mean D(G(z))`, to be minimised over the generator."""
        return -fake_scores.mean()


class NonSaturatingLoss(_Weighted):
    """Logistic loss with the generator's term that does not saturate.

    Args:
        generator_weight: factor of the generator's term, where other terms are added to it: 0.4 in Zhao et al., Eq. 1.

    Examples:
        >>> import math
        >>> loss, zero = NonSaturatingLoss(), torch.zeros(4)
        >>> math.isclose(loss.discriminator(zero, zero).item(), 2 * math.log(2), rel_tol=1e-6)
        True
    """

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """`mean softplus(D(G(z))) + mean softplus(-D(x))`."""
        return softplus(fake_scores).mean() + softplus(-real_scores).mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """`mean softplus(-D(G(z)))`, weighted."""
        return self.generator_weight * softplus(-fake_scores).mean()


class LeastSquaresLoss:
    """Squared distance of scores to 1 for real and 0 for generated images, of single scores or of patches.

    Examples:
        >>> loss, real, fake = LeastSquaresLoss(), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.5])
        >>> loss.discriminator(real, fake).item(), loss.generator(fake).item()
        (0.625, 0.625)
    """

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """`mean (D(x) - 1)^2 + mean D(G(z))^2`."""
        return (real_scores - 1).square().mean() + fake_scores.square().mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """`mean (D(G(z)) - 1)^2`."""
        return (fake_scores - 1).square().mean()


class HingeLoss(_Weighted):
    """Real scores above 1 and generated ones below -1 teach the discriminator nothing more; scores or patches.

    Args:
        generator_weight: factor of the generator's term, where other terms are added to it.

    Examples:
        >>> loss, real, fake = HingeLoss(), torch.tensor([3.0, 0.0]), torch.tensor([-3.0, 1.0])
        >>> loss.discriminator(real, fake).item(), loss.generator(fake).item()
        (1.5, 1.0)
    """

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """`mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))`."""
        return relu(1 - real_scores).mean() + relu(1 + fake_scores).mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """`-mean D(G(z))`, weighted."""
        return -self.generator_weight * fake_scores.mean()


class MultiScaleAdversarialLoss:
    """Adds the loss of each scale of a discriminator that returns a list of scores under `score`.

    Args:
        base: loss of one discriminator, such as `NonSaturatingLoss` (the paper's logarithms; its generator's term is
            the one that does not saturate) or `LeastSquaresLoss`.

    Examples:
        >>> import math
        >>> loss, scores = MultiScaleAdversarialLoss(base=NonSaturatingLoss()), {"score": [torch.zeros(2)] * 3}
        >>> math.isclose(loss.discriminator(scores, scores).item(), 6 * math.log(2), rel_tol=1e-6)
        True
    """

    def __init__(self, *, base: Any) -> None:
        self.base = base

    def discriminator(self, real_scores: dict[str, Any], fake_scores: dict[str, Any]) -> Tensor:
        """Sum over scales, to be minimised over the discriminators."""
        pairs = zip(real_scores["score"], fake_scores["score"], strict=True)
        return torch.stack([self.base.discriminator(real, fake) for real, fake in pairs]).sum()

    def generator(self, fake_scores: dict[str, Any]) -> Tensor:
        """Sum over scales, to be minimised over the generator."""
        return torch.stack([self.base.generator(fake) for fake in fake_scores["score"]]).sum()


class WeightedHinge(_Weighted):
    """Hinge loss (Lim and Ye 2017, arXiv:1705.02894), each place by its weight, averaged over judges.

    For a discriminator that returns `{"score": [...], "weight": [...]}`, such as `PaintingDiscriminator`. It begins at
    2; where nothing counts it is 0.

    Args:
        generator_weight: factor of the generator's term, where other terms are added to it.

    Raises:
        ValueError: for a negative factor.

    Examples:
        >>> loss, weight = WeightedHinge(), [torch.tensor([1.0, 0.0])]
        >>> real = {"score": [torch.tensor([0.5, 0.0])], "weight": weight}
        >>> fake = {"score": [torch.tensor([-0.5, 0.0])], "weight": weight}
        >>> loss.discriminator(real, fake).item(), loss.generator(fake).item()
        (1.0, 0.5)
    """

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
    return torch.stack([(value * weight).sum() / weight.sum().clamp(min=1e-6) for value, weight in pairs]).mean()
