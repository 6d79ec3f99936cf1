"""Carrying out drawn augmentations: from a generator or from a bank, with bounded tries under a gate.

All forms of `GenerativeAugment` come through here; an item is a batch of one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.editing import Gate, first_accepted, resolve_gate
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.transforms.augment.background import WAITING, BackgroundEdits
from monai_retina_gen.transforms.augment.bank import FromBank
from monai_retina_gen.transforms.augment.from_generator import FromGenerator
from monai_retina_gen.transforms.augment.outcome import Outcome
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.real_images import RealImages, group_of

Make = Callable[[list[AugmentationPlan], RealImages], list[Outcome]]


class AugmentationSource:
    """Where augmented images come from: a generator, or a bank of its images.

    The arguments are those of `GenerativeAugment`, `options` those of them that `FromGenerator` takes.
    """

    def __init__(
        self,
        *,
        generator: str | os.PathLike[str] | RetinaGenerator | None = None,
        bank: str | os.PathLike[str] | None = None,
        gate: str | Gate | None = None,
        max_retries: int = 3,
        allow_upsampling: bool = False,
        background: float | None = None,
        **options: Any,
    ) -> None:
        self.gate, self.tries = resolve_gate(gate), check_whole("max_retries", max_retries, least=0) + 1
        self.background = None if background is None else BackgroundEdits(self._edit_one, share=background)
        self.maker: FromBank | FromGenerator
        if bank is not None:
            self.maker = FromBank(bank, allow_upsampling=allow_upsampling)
        elif generator is not None:
            self.maker = FromGenerator(generator, allow_upsampling=allow_upsampling, **options)
            self.maker.handle.find()  # last: wrong arguments are said without the bundle, too
        else:
            raise ValueError("give `generator` (a bundle's name or folder) or `bank` (a folder made by `expand`)")

    @property
    def has_canvases(self) -> bool:
        """Whether `synthesize` paints on photographs."""
        return isinstance(self.maker, FromGenerator) and self.maker.canvases is not None

    @property
    def has_bank(self) -> bool:
        """Whether the images were made ahead."""
        return isinstance(self.maker, FromBank)

    def apply(self, plans: Sequence[AugmentationPlan], real: RealImages) -> list[Outcome]:
        """Carry out `B` plans for `B` real images; the outcomes have their size."""
        outcomes = [Outcome(refused=self.maker.refusal(plan)) for plan in plans]
        for mode in dict.fromkeys(plan.mode for plan in plans):
            rows = [i for i, plan in enumerate(plans) if plan.mode == mode and not outcomes[i].refused]
            if not rows:
                continue
            few, own = [plans[i] for i in rows], real.take(rows)
            if mode == "edit" and self.background is not None:
                made = self._made_ahead(few, own)
            elif mode == "edit":
                made = self.maker.edit(few, own, gate=self.gate, tries=self.tries)
            else:
                made = under_gate(self.maker.make, few, own, self.gate, tries=self.tries)
            for row, outcome in zip(rows, made, strict=True):
                outcomes[row] = outcome
        return outcomes

    def _made_ahead(self, plans: Sequence[AugmentationPlan], real: RealImages) -> list[Outcome]:
        """What the background has of the photographs by now."""
        assert self.background is not None
        waiting, each = Outcome(refused=WAITING), [real.take([i]) for i in range(len(plans))]
        return [
            self.background.take(plan, one.images[0], one.masks, one.sources, one.groups) or waiting
            for plan, one in zip(plans, each, strict=True)
        ]

    def _edit_one(
        self,
        plan: AugmentationPlan,
        image: Tensor,
        masks: Mapping[str, Tensor],
        sources: list[str],
        groups: list[str | None],
    ) -> Outcome:
        real = RealImages(image[None], masks, sources, groups)
        return self.maker.edit([plan], real, gate=self.gate, tries=self.tries)[0]


def under_gate(
    make: Make, plans: Sequence[AugmentationPlan], real: RealImages, gate: Gate | None, *, tries: int
) -> list[Outcome]:
    """Carry out plans of one mode, with other seeds until the gate accepts; not for edits, which search their strength.

    Where none of `tries` was accepted, the outcome has no image, and the reason against the last.
    """
    if gate is None:
        return make(list(plans), real)
    made = [Outcome()] * len(plans)

    def attempt(rows: list[int], number: int) -> list[str]:
        tried, own = [plans[i].retry(number) for i in rows], real.take(rows)
        outcomes = make(tried, own)
        reasons, drawn = [each.refused for each in outcomes], [i for i, each in enumerate(outcomes) if not each.refused]
        judge = ""
        if drawn:
            verdict = _verdict(gate, [outcomes[i] for i in drawn], [tried[i] for i in drawn], own.take(drawn))
            judge = verdict.judge
            for i, reason in zip(drawn, verdict.reasons, strict=True):
                reasons[i] = reason
        for row, outcome, reason in zip(rows, outcomes, reasons, strict=True):
            made[row] = Outcome(refused=reason) if reason else _verified(outcome, judge)
        return reasons

    first_accepted(attempt, len(plans), tries=tries)
    return made


def _verdict(gate: Gate, outcomes: list[Outcome], plans: list[AugmentationPlan], real: RealImages) -> GateVerdict:
    images = torch.stack([outcome.image for outcome in outcomes if outcome.image is not None])
    grades = [plan.grade for plan in plans]
    if plans[0].mode == "reconstruct":
        return gate.check(images, grades, real.images, real.groups)
    if any(outcome.eye is not None for outcome in outcomes):  # networks that saw a canvas do not judge it
        groups = [None if outcome.eye is None else group_of(outcome.eye.item["group"]) for outcome in outcomes]
        return gate.check(images, grades, None, groups)
    return gate.check(images, grades)  # of no photograph, so every network may judge it


def _verified(outcome: Outcome, judge: str) -> Outcome:
    record = outcome.record and replace(outcome.record, label=f"verified by {judge}")
    return replace(outcome, record=record)
