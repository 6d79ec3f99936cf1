"""A head for grades that have an order: one severity, cut into grades at thresholds.

Source: McCullagh, "Regression models for ordinal data", Journal of the Royal Statistical Society B 42, 1980 (the
proportional odds model, Eq. 2.1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus


class OrdinalHead(nn.Module):
    """Log probabilities `(B, num_classes)` of ordered grades: P(grade <= k) = sigmoid(threshold k - severity).

    They sum to 1 as probabilities, so that cross entropy, softmax and a temperature take them as any logits.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}: an order needs at least 2")
        self.severity = nn.Linear(in_features, 1)
        # softplus(0.5413) = 1 between thresholds: in the middle of them all grades are about as likely
        self.first = nn.Parameter(torch.tensor([-(num_classes - 2) / 2]))
        self.gaps = nn.Parameter(torch.full((num_classes - 2,), 0.5413))

    def forward(self, features: Tensor) -> Tensor:
        severity = self.severity(features).float()
        gaps = softplus(self.gaps.float())
        thresholds = self.first.float() + torch.cat([torch.zeros_like(self.first), gaps.cumsum(0)])
        below, above = logsigmoid(thresholds - severity), logsigmoid(severity - thresholds)
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): no difference of two numbers near 1
        middle = below[:, 1:] + above[:, :-1] + torch.log(-torch.expm1(-gaps))
        return torch.cat([below[:, :1], middle, above[:, -1:]], 1)
