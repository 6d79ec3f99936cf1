"""Terms of an adversarial trainer as the loss of a supervised one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.losses.adversarial_step import AdversarialStep

__all__ = ["SumOfTerms"]


class SumOfTerms(nn.Module):
    """The sum of terms that compare each generated image with its real one.

    Args:
        terms: by name, such as `PairedPerceptual` or `VersionChange`.

    Attributes:
        logs: the terms of the last call.

    Examples:
        >>> import torch
        >>> loss = SumOfTerms({"error": lambda step: (step.fake - step.real).abs().mean()})
        >>> loss(torch.ones(1, 3, 2, 2), {"image": torch.zeros(1, 3, 2, 2), "eye": torch.zeros(1, 3, 2, 2)})
        tensor(1.)
    """

    def __init__(self, terms: Mapping[str, Any]) -> None:
        super().__init__()
        self.terms = dict(terms)
        self.logs: dict[str, Tensor] = {}

    def forward(self, preds: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        real = target["image"]
        condition = {"photograph": real, "eye": target["eye"]}
        step = AdversarialStep(real, preds, None, lambda x: x, None, preds, None, None, None, None, condition)  # type: ignore[arg-type]
        values = {name: term(step) for name, term in self.terms.items()}
        self.logs = {name: value.detach() for name, value in values.items()}
        total: Tensor = sum(values.values(), torch.zeros((), device=preds.device))
        return total
