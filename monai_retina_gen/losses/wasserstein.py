"""Adversarial losses: Wasserstein, non-saturating, least squares, hinge.

Sources: Arjovsky et al. 2017, arXiv:1701.07875; Goodfellow et al. 2014; Mao et al. 2017, arXiv:1611.04076; Lim and Ye
2017, arXiv:1705.02894.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu, softplus

__all__ = ["HingeLoss", "LeastSquaresLoss", "NonSaturatingLoss", "WassersteinLoss"]


class WassersteinLoss:
    """Estimate of the Wasserstein-1 distance, its sign turned for the critic: the first two terms of Kim et al., Eq. 1.

    Examples:
        >>> import torch
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


class NonSaturatingLoss:
    """Logistic loss with the generator's term that does not saturate.

    Args:
        generator_weight: factor of the generator's term, where other terms are added to it: 0.4 in Zhao et al., Eq. 1.

    Examples:
        >>> import math, torch
        >>> loss, zero = NonSaturatingLoss(), torch.zeros(4)
        >>> math.isclose(loss.discriminator(zero, zero).item(), 2 * math.log(2), rel_tol=1e-6)
        True
    """

    def __init__(self, *, generator_weight: float = 1.0) -> None:
        if generator_weight < 0:
            raise ValueError(f"generator_weight must not be negative, got {generator_weight}")
        self.generator_weight = generator_weight

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """`mean softplus(D(G(z))) + mean softplus(-D(x))`."""
        return softplus(fake_scores).mean() + softplus(-real_scores).mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """`mean softplus(-D(G(z)))`, weighted."""
        return self.generator_weight * softplus(-fake_scores).mean()


class LeastSquaresLoss:
    """Squared distance of scores to 1 for real and 0 for generated images, of single scores or of patches.

    Examples:
        >>> import torch
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


class HingeLoss:
    """Real scores above 1 and generated ones below -1 teach the discriminator nothing more; scores or patches.

    Args:
        generator_weight: factor of the generator's term, where other terms are added to it.

    Examples:
        >>> import torch
        >>> loss, real, fake = HingeLoss(), torch.tensor([3.0, 0.0]), torch.tensor([-3.0, 1.0])
        >>> loss.discriminator(real, fake).item(), loss.generator(fake).item()
        (1.5, 1.0)
    """

    def __init__(self, *, generator_weight: float = 1.0) -> None:
        if generator_weight < 0:
            raise ValueError(f"generator_weight must not be negative, got {generator_weight}")
        self.generator_weight = generator_weight

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """`mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))`."""
        return relu(1 - real_scores).mean() + relu(1 + fake_scores).mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """`-mean D(G(z))`, weighted."""
        return -self.generator_weight * fake_scores.mean()
