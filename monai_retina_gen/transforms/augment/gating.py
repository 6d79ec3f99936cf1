"""Other seeds for images that a gate refuses. Edits are searched by their strength instead, inside the generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from monai_retina_gen.editing import Gate, GateVerdict, first_accepted
from monai_retina_gen.transforms.augment.outcome import Outcome
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.real_images import RealImages, group_of

__all__ = ["under_gate"]

Make = Callable[[list[AugmentationPlan], RealImages], list[Outcome]]


def under_gate(
    make: Make, plans: Sequence[AugmentationPlan], real: RealImages, gate: Gate | None, *, tries: int
) -> list[Outcome]:
    """Carry out plans of one mode until the gate accepts.

    Args:
        make: carries out plans.
        plans: `B` plans.
        real: the photographs that they are for.
        gate: judges the images; without one, the first is kept.
        tries: of an image at most, each with its own seed.

    Returns:
        `B` outcomes; where no try was accepted, without an image and with the reason against the last.
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
