"""A term of a loss for those rows of a batch whose generated image has a real one that it should equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from monai_retina_gen.losses.adversarial_step import AdversarialStep

__all__ = ["FirstRows"]


class FirstRows(nn.Module):
    """Gives a term of `AlternatingTrainer(g_terms=...)` the first rows alone: reconstructions, before samples.

    Args:
        term: of pairs of images, such as `PairedPerceptual`.
        count: rows.

    Examples:
        >>> import torch
        >>> term = FirstRows(lambda step: (step.real - step.fake).abs().sum(), count=1)
        >>> real, fake = torch.ones(2, 3, 1, 1), torch.zeros(2, 3, 1, 1)
        >>> term(AdversarialStep(real, fake, None, None, real, fake, None, None, None, None))
        tensor(3.)
    """

    def __init__(self, term: Callable[[AdversarialStep], Tensor], *, count: int) -> None:
        super().__init__()
        self.term: Any = term
        self.count = count

    @property
    def logs(self) -> dict[str, Tensor]:
        """What the term logs."""
        logs: dict[str, Tensor] = getattr(self.term, "logs", {})
        return logs

    def forward(self, step: AdversarialStep) -> Tensor:
        condition = {name: value[: self.count] for name, value in step.condition.items()}
        rows = replace(step, real=step.real[: self.count], fake=step.fake[: self.count], condition=condition)
        found: Tensor = self.term(rows)
        return found
