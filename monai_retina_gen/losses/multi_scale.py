"""An adversarial loss summed over several discriminators (Zhou et al., DR-GAN, Eq. 1, first term)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["MultiScaleAdversarialLoss"]


class MultiScaleAdversarialLoss:
    """Adds the loss of each scale of a discriminator that returns a list of scores under `score`.

    Args:
        base: loss of one discriminator, such as `NonSaturatingLoss` (the paper's logarithms; its generator's term is
            the one that does not saturate) or `LeastSquaresLoss`.

    Examples:
        >>> import math, torch
        >>> from monai_retina_gen.losses import NonSaturatingLoss
        >>> loss, scores = MultiScaleAdversarialLoss(base=NonSaturatingLoss()), {"score": [torch.zeros(2)] * 3}
        >>> math.isclose(loss.discriminator(scores, scores).item(), 6 * math.log(2), rel_tol=1e-6)
        True
    """

    def __init__(self, *, base: Any) -> None:
        self.base = base

    def discriminator(self, real_scores: dict[str, Any], fake_scores: dict[str, Any]) -> Tensor:
        """Sum over scales, to be minimised over the discriminators."""
        pairs = zip(real_scores["score"], fake_scores["score"], strict=True)
        losses: list[Tensor] = [self.base.discriminator(real, fake) for real, fake in pairs]
        return _sum(losses)

    def generator(self, fake_scores: dict[str, Any]) -> Tensor:
        """Sum over scales, to be minimised over the generator."""
        return _sum([self.base.generator(fake) for fake in fake_scores["score"]])


def _sum(losses: list[Tensor]) -> Tensor:
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total
