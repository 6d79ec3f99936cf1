"""Grades in adversarial training: what discriminators and a generator's encoder learn of them.

Source: Zhou et al. (DR-GAN), Eq. 1, fourth term, and section III.E (grade prediction from the last encoding block).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from monai_retina_gen.losses.adversarial_step import AdversarialStep
from monai_retina_gen.losses.focal import GradeFocalLoss

__all__ = ["DiscriminatedGrade", "EncodedGrade"]


class DiscriminatedGrade:
    """Focal loss of the grades that the discriminators name, summed over scales.

    As `d_terms` of an `AlternatingTrainer`, of real and generated images alike (Eq. 1, in which the discriminators
    alone minimise it). As `g_terms`, of the generated ones: the generator then makes images whose grade is seen (Odena
    et al. 2017, arXiv:1610.09585).

    Args:
        weight: the paper's 1.
        gamma: of the focal loss.

    Examples:
        >>> import torch
        >>> term, logits = DiscriminatedGrade(gamma=0.0), torch.zeros(2, 5)
        >>> round(float(term.of({"grade": [logits, logits]}, torch.tensor([0, 4]))), 4)  # 2 log 5
        3.2189
    """

    def __init__(self, *, weight: float = 1.0, gamma: float = 2.0) -> None:
        self.weight, self.loss = weight, GradeFocalLoss(gamma=gamma)

    def __call__(self, step: AdversarialStep) -> Tensor:
        grade = step.condition["grade"]
        total = self.of(step.fake_scores, grade)
        if step.real_scores is not None:
            total = total + self.of(step.real_scores, grade)
        return self.weight * total

    def of(self, scores: dict[str, Any], grade: Tensor) -> Tensor:
        """Sum over scales of the loss of one set of images."""
        losses: list[Tensor] = [self.loss(logits, grade) for logits in scores["grade"]]
        total = losses[0]
        for loss in losses[1:]:
            total = total + loss
        return total


class EncodedGrade:
    """Focal loss of the grade that the generator's encoder predicts from the masks, as one of `g_terms`.

    Args:
        generator: with `predict_grade(condition)`.
        weight: factor.
        gamma: of the focal loss.
    """

    def __init__(self, *, generator: Any, weight: float = 1.0, gamma: float = 2.0) -> None:
        self.generator, self.weight, self.loss = generator, weight, GradeFocalLoss(gamma=gamma)

    def __call__(self, step: AdversarialStep) -> Tensor:
        logits = self.generator.predict_grade(step.condition["condition"])
        found: Tensor = self.weight * self.loss(logits, step.condition["grade"])
        return found
