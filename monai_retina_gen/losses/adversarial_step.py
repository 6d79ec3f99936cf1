"""What a term or a penalty of adversarial training may look at, and terms made of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class AdversarialStep:
    """One step of a critic or generator.

    Args:
        real: real images `(B, C, H, W)` in [-1, 1], before any augmentation.
        fake: generated images, before any augmentation; with gradients in a generator's step, without in a critic's.
        score: the critic with its condition: from images to scores, without augmentation.
        augment: augmentation of the critic's input; the identity where there is none.
        seen_real: `real` as the critic saw it; `None` in a generator's step, whose critic sees none.
        seen_fake: `fake` as the critic saw it.
        real_scores: scores of `seen_real`; `None` in a generator's step.
        fake_scores: scores of `seen_fake`.
        mix: `(B,)` random numbers in [0, 1], for interpolates.
        latent: latents of `fake`.
        condition: what both networks were conditioned on, by name.
        augment_alike: augments as `seen_fake` was augmented, with the same random draws: what is compared with it,
            such as the real image of a pair, has to be turned and coloured as it is.
    """

    real: Tensor
    fake: Tensor
    score: Callable[[Tensor], Any]
    augment: Callable[[Tensor], Tensor]
    seen_real: Tensor | None
    seen_fake: Tensor
    real_scores: Any
    fake_scores: Any
    mix: Tensor
    latent: Tensor
    condition: dict[str, Tensor] = field(default_factory=dict)
    augment_alike: Callable[[Tensor], Tensor] = field(default=lambda images: images)


class FirstRows(nn.Module):
    """Gives a term of `AlternatingTrainer(g_terms=...)` the first rows alone: reconstructions, before samples.

    Args:
        term: of pairs of images, such as `PairedPerceptual`.
        count: rows.

    Examples:
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


class SumOfTerms(nn.Module):
    """The sum of terms that compare each generated image with its real one.

    Args:
        terms: by name, such as `PairedPerceptual` or `VersionChange`.

    Attributes:
        logs: the terms of the last call.

    Examples:
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
