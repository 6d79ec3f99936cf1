"""Losses of grades: weights of rare ones, the focal loss, and what adversarial training learns of grades.

Sources: Lin et al. 2017, arXiv:1708.02002, Eq. 5; Zhou et al. (DR-GAN), Eq. 1, fourth term, and section III.E.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.losses.adversarial import AdversarialStep


def class_weights(counts: Mapping[int, int], *, power: float = 0.5) -> Tensor:
    """Weights `n_g ** -power` of grades `(grades,)`, scaled so that the average over photographs is 1.

    Args:
        counts: photographs by grade, in any order; a grade without photographs gets 0.
        power: 0 for equal weights, 1 for weights that make every grade count the same; 0.5 in between keeps a very
            rare grade from being learned by heart.

    Raises:
        ValueError: if the keys are not the grades 0, 1, 2..., or there is no photograph.
    """
    if set(counts) != set(range(len(counts))):
        raise ValueError(
            f"counts has the keys {list(counts)}: the grades from 0 on are wanted, each once, those without "
            "photographs with 0 (`count_grades` gives them)"
        )
    numbers = torch.tensor([float(counts[grade]) for grade in range(len(counts))])
    if not (numbers > 0).any():
        raise ValueError(f"counts {dict(counts)} hold no photograph")
    weights = torch.where(numbers > 0, numbers.clamp(min=1) ** -power, 0.0)
    return weights * numbers.sum() / (weights * numbers).sum()


class GradeFocalLoss(nn.Module):
    """Focal loss over exclusive grades, `FL = -w_y (1 - p_y)^gamma log p_y`, averaged with the weights `w`.

    MONAI's `FocalLoss` averages over pixels and classes; this one is `torch.nn.CrossEntropyLoss` at `gamma=0`.

    Args:
        gamma: focusing parameter, not negative; 2 in the paper and in DR-GAN.
        weight: weight of each grade, as `class_weights` gives them; `None` for equal weights.

    Shape:
        - logits: `(B, grades)`; target: `(B,)` int64; output: scalar.

    Examples:
        >>> logits, grade = torch.tensor([[4.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
        >>> round(float(GradeFocalLoss(gamma=2.0)(logits, grade)), 4)  # (0 + (1/2)^2 log 2) / 2
        0.0866
    """

    weight: Tensor | None

    def __init__(self, *, gamma: float = 2.0, weight: Tensor | Sequence[float] | None = None) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma={gamma}: want a number of at least 0")
        self.gamma = gamma
        self.register_buffer("weight", None if weight is None else torch.as_tensor(weight, dtype=torch.float32))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        log_p = torch.log_softmax(logits.float(), dim=1).gather(1, target[:, None])[:, 0]
        weight = torch.ones_like(log_p) if self.weight is None else self.weight[target]
        # expm1 keeps 1 - p exact where p is almost 1
        return -(weight * (-torch.expm1(log_p)).pow(self.gamma) * log_p).sum() / weight.sum()


class DiscriminatedGrade:
    """Focal loss of the grades that the discriminators name, summed over scales.

    As `d_terms` of an `AlternatingTrainer`, of real and generated images alike (Eq. 1, in which the discriminators
    alone minimise it). As `g_terms`, of the generated ones: the generator then makes images whose grade is seen (Odena
    et al. 2017, arXiv:1610.09585).

    Args:
        weight: the paper's 1.
        gamma: of the focal loss.

    Examples:
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
        return torch.stack([self.loss(logits, grade) for logits in scores["grade"]]).sum()


class EncodedGrade:
    """Focal loss of the grade that `generator.predict_grade` finds in the masks, as one of `g_terms`."""

    def __init__(self, *, generator: Any, weight: float = 1.0, gamma: float = 2.0) -> None:
        self.generator, self.weight, self.loss = generator, weight, GradeFocalLoss(gamma=gamma)

    def __call__(self, step: AdversarialStep) -> Tensor:
        logits = self.generator.predict_grade(step.condition["condition"])
        found: Tensor = self.weight * self.loss(logits, step.condition["grade"])
        return found
