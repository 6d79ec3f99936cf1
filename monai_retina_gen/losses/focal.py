"""Focal loss for graders: easy photographs count less (Lin et al. 2017, arXiv:1708.02002, Eq. 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["GradeFocalLoss"]


class GradeFocalLoss(nn.Module):
    """Focal loss over exclusive grades, `FL = -w_y (1 - p_y)^gamma log p_y`, averaged with the weights `w`.

    MONAI's `FocalLoss` averages over pixels and classes; this one is `torch.nn.CrossEntropyLoss` at `gamma=0`.

    Args:
        gamma: focusing parameter; 2 in the paper and in DR-GAN.
        weight: weight of each grade, as `class_weights` gives them; `None` for equal weights.

    Shape:
        - logits: `(B, grades)`; target: `(B,)` int64; output: scalar.

    Raises:
        ValueError: for a negative gamma.

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
