"""Carrying out drawn augmentations: one forward pass for a batch of them, with bounded retries under a gate.

All forms of `GenerativeAugment` come through here; the array form is a batch of one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import MaskComposer
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.editing import Gate, resolve_gate
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.generators import GeneratorHandle, RetinaGenerator
from monai_retina_gen.transforms.augment.background import WAITING, BackgroundEdits
from monai_retina_gen.transforms.augment.bank import ImageBank
from monai_retina_gen.transforms.augment.conditions import ConditionMasks, resized_masks
from monai_retina_gen.transforms.augment.lesion_edits import edits_under_gate, lesion_edits
from monai_retina_gen.transforms.augment.policy import AugmentationPlan

__all__ = ["AugmentationSource", "Augmented"]

_FROM_IMAGE = ("edit", "reconstruct")


@dataclass
class Augmented:
    """Outcome of one plan: an image with its record, or the reason why the real image stays.

    Args:
        image: `(3, H, W)` in [0, 1], or `None` where every try was refused.
        record: its record.
        masks: masks that were made with it.
        refused: reason, `""` where the image was made.
    """

    image: Tensor | None
    record: GenerationRecord | None
    masks: dict[str, Tensor]
    refused: str = ""


class AugmentationSource:
    """Where augmented images come from: a generator, or a bank of its images.

    Args:
        generator: bundle name, folder or generator object; may be left out with `bank`.
        bank: folder that `expand` wrote; serves the modes `sample` and, where it has masks, `synthesize`.
        device: where the generator runs.
        trust_code: see `load_generator`.
        gate: `None`, `"label"`, or an object with `Gate`'s method.
        max_retries: further tries with other seeds after a refusal, before the real image is kept.
        allow_upsampling: allow a generator's image to be enlarged to a larger item.
        lesion_bank: see `ConditionMasks`.
        synthesize_options: further arguments of the generator's `synthesize`.
        edit_options: further arguments of the generator's `edit`, such as `{"step": "mu", "blend": "replace"}`.
        background: share of the time in which a thread makes edits ahead (see `BackgroundEdits`); `None` makes each
            when it is asked for.
    """

    def __init__(
        self,
        *,
        generator: str | os.PathLike[str] | RetinaGenerator | None = None,
        bank: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        trust_code: bool = False,
        gate: str | Gate | None = None,
        max_retries: int = 3,
        allow_upsampling: bool = False,
        lesion_bank: str | os.PathLike[str] | MaskComposer | None = None,
        synthesize_options: Mapping[str, Any] | None = None,
        edit_options: Mapping[str, Any] | None = None,
        background: float | None = None,
    ) -> None:
        if generator is None and bank is None:
            raise ValueError("give `generator` (a bundle's name or folder) or `bank` (a folder made by `expand`)")
        self.handle = None if generator is None else GeneratorHandle(generator, device=device, trust_code=trust_code)
        self.bank = None if bank is None else ImageBank(bank)
        self.gate = resolve_gate(gate)
        self.max_retries, self.allow_upsampling = max_retries, allow_upsampling
        self.conditions, self.synthesize_options = ConditionMasks(lesion_bank), dict(synthesize_options or {})
        self.edit_options = dict(edit_options or {})
        self.background = None if background is None else BackgroundEdits(self._edit_one, share=background)

    def check_modes(self, modes: Sequence[str]) -> None:
        """Raise `UnsupportedModeError` or `ValueError` where a mode cannot be served; loads no bank's generator."""
        if self.bank is not None and not set(modes) <= {"sample", "synthesize"}:
            raise ValueError(
                f"a bank holds images made ahead: mode must be 'sample' or 'synthesize', got {list(modes)}"
            )
        if self.bank is None and self.handle is not None:
            for mode in modes:
                self.handle.get().check_mode(mode)

    def apply(
        self,
        plans: Sequence[AugmentationPlan],
        images: Tensor,
        masks: Mapping[str, Tensor] | None = None,
        sources: Sequence[str] | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> list[Augmented]:
        """Carry out plans.

        Args:
            plans: `B` plans.
            images: `(B, 3, H, W)` real images in [0, 1], H = W.
            masks: name to `(B, 1, H, W)`, for `synthesize`.
            sources: identifiers of the real images, for records.
            groups: photographs or patients that the real images belong to: a cross-fitted gate lets an edit be judged
                only by networks that never saw its group.

        Returns:
            `B` outcomes whose images have the size of `images`.
        """
        results: list[Augmented | None] = [self._refuse(plan) for plan in plans]
        names, group_of = list(sources or [""] * len(plans)), list(groups or [None] * len(plans))
        reasons = [""] * len(plans)
        self._edit_at_once(results, plans, images, masks or {}, names, group_of)
        for attempt in range(self.max_retries + 1 if self.gate else 1):
            open_rows = [i for i, result in enumerate(results) if result is None]
            for rows in _by_mode(plans, open_rows):
                tries = [plans[i].retry(attempt) for i in rows]
                real = images if len(rows) == len(plans) else images[rows]
                made = self._make(tries, real, _rows(masks, rows), [names[i] for i in rows])
                verdicts = self._judge(made, real, tries, [group_of[i] for i in rows])
                for i, outcome in zip(rows, verdicts, strict=True):
                    results[i] = None if outcome.refused else outcome
                    reasons[i] = outcome.refused
        refused = (Augmented(None, None, {}, reason) for reason in reasons)
        return [r if r is not None else empty for r, empty in zip(results, refused, strict=True)]

    def _edit_at_once(
        self,
        results: list[Augmented | None],
        plans: Sequence[AugmentationPlan],
        images: Tensor,
        masks: Mapping[str, Tensor],
        sources: list[str],
        groups: list[str | None],
    ) -> None:
        """Edits by a generator that finds each one's strength under the gate itself; the others are left open."""
        rows = [i for i, plan in enumerate(plans) if plan.mode == "edit" and results[i] is None]
        if self.bank is not None or self.handle is None or not rows or not edits_under_gate(self.handle):
            return
        own = {name: mask[rows] for name, mask in masks.items()}
        of = [groups[i] for i in rows]
        if self.background is None:
            edited = self._edits([plans[i] for i in rows], images[rows], own, [sources[i] for i in rows], of)
        else:
            edited = [
                self.background.take(plans[i], images[i], {k: m[n] for k, m in own.items()}, sources[i], of[n])
                or Augmented(None, None, {}, WAITING)
                for n, i in enumerate(rows)
            ]
        for i, outcome in zip(rows, edited, strict=True):
            results[i] = outcome

    def _edits(
        self,
        plans: list[AugmentationPlan],
        images: Tensor,
        masks: Mapping[str, Tensor],
        sources: list[str],
        groups: list[str | None],
    ) -> list[Augmented]:
        assert self.handle is not None
        few, tries = images.float().clamp(0, 1), self.max_retries + 1
        made = lesion_edits(
            self.handle, plans, few, masks, sources, groups, gate=self.gate, tries=tries, options=self.edit_options
        )
        return [
            Augmented(None, None, {}, refused)
            if refused
            else Augmented(image.to(images), record, {k: m.to(images) for k, m in kept.items()})
            for image, record, kept, refused in made
        ]

    def _edit_one(
        self, plan: AugmentationPlan, image: Tensor, masks: Mapping[str, Tensor], source: str, group: str | None
    ) -> Augmented:
        own = {name: mask[None] for name, mask in masks.items()}
        return self._edits([plan], image[None], own, [source], [group])[0]

    def _refuse(self, plan: AugmentationPlan) -> Augmented | None:
        """The real image, with the reason, where generator or bank have nothing for the grade."""
        if self.bank is not None and plan.grade in self.bank.refused_grades:
            reason = f"the gate refused every image of grade {plan.grade} when the bank was made"
            return Augmented(None, None, {}, reason)
        if self.handle is None or plan.mode != "sample" or plan.grade not in self.handle.get().missing_grades:
            return None
        return Augmented(None, None, {}, f"{self.handle.get().name} has no image of grade {plan.grade}")

    def _make(
        self,
        plans: list[AugmentationPlan],
        images: Tensor,
        masks: Mapping[str, Tensor],
        sources: list[str],
    ) -> list[Augmented]:
        mode, size = plans[0].mode, tuple(images.shape[-2:])
        if self.bank is not None:
            return [self._pick(self.bank, plan, images) for plan in plans]
        assert self.handle is not None
        if mode == "synthesize":
            return self._synthesize(plans, images, masks, sources)
        batch = self.handle.call(mode, **self._arguments(mode, plans, images, sources))
        made = batch.image if mode == "edit" else self._fit(batch.image, size)
        made = made.to(images)
        kept = {k: self._fit(m, size).to(images) for k, m in batch.masks.items()}
        return [
            Augmented(made[i], record, {k: m[i] for k, m in kept.items()}) for i, record in enumerate(batch.records)
        ]

    def _pick(self, bank: ImageBank, plan: AugmentationPlan, images: Tensor) -> Augmented:
        image, record = bank.pick(plan.grade, plan.seed)
        kept = bank.masks(plan.grade, plan.seed) if plan.mode == "synthesize" else {}
        size = tuple(images.shape[-2:])
        fitted = {k: self._fit(m[None], size)[0].to(images) for k, m in {"": image, **kept}.items()}
        return Augmented(fitted.pop(""), record, fitted)

    def _synthesize(
        self, plans: list[AugmentationPlan], images: Tensor, masks: Mapping[str, Tensor], sources: list[str]
    ) -> list[Augmented]:
        """Images with the masks that they were made from, at the size of the items."""
        assert self.handle is not None
        self.handle.get().check_mode("synthesize")
        size, side = tuple(images.shape[-2:]), self.handle.get().image_size
        self._check_size((side, side), size)
        wanted, notes = self.conditions(plans, masks, size)
        asked = resized_masks(wanted, side)
        seeds, grades = [p.seed for p in plans], [p.grade for p in plans]
        own = {} if self.conditions.composer else self.handle.get().own_masks_options
        batch = self.handle.call("synthesize", asked, grades, seeds=seeds, **{**own, **self.synthesize_options})
        made = self._fit(batch.image, size).to(images)
        changed = {k: m for k, m in batch.masks.items() if k not in asked or not torch.equal(m.to(asked[k]), asked[k])}
        kept = {k: m.to(images) for k, m in {**wanted, **{k: self._fit(m, size) for k, m in changed.items()}}.items()}
        return [
            Augmented(
                made[i],
                replace(record, source=sources[i] or record.source, options={**record.options, **notes[i]}),
                {k: m[i] for k, m in kept.items()},
            )
            for i, record in enumerate(batch.records)
        ]

    def _arguments(
        self,
        mode: str,
        plans: list[AugmentationPlan],
        images: Tensor,
        sources: list[str],
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {"grades": [p.grade for p in plans]}
        if mode == "sample":
            arguments["seeds"] = [p.seed for p in plans]
        if mode in _FROM_IMAGE:
            arguments |= {"images": images.float().clamp(0, 1), "sources": sources}
        if mode == "edit":
            arguments |= {"lesion": [p.lesion for p in plans], "strength": [p.strength for p in plans]}
        if mode == "reconstruct" and self.handle is not None:
            arguments["images"] = _shrink(arguments["images"], self.handle.get().image_size)
        return arguments

    def _judge(
        self,
        made: list[Augmented],
        images: Tensor,
        plans: list[AugmentationPlan],
        groups: list[str | None],
    ) -> list[Augmented]:
        if self.gate is None:
            return made
        generated = torch.stack([m.image for m in made if m.image is not None])
        # A sample is of no photograph, so every network may judge it.
        originals, known = (images, groups) if plans[0].mode in _FROM_IMAGE else (None, None)
        verdict = self.gate.check(generated, [p.grade for p in plans], originals, known)
        for outcome, reason in zip(made, verdict.reasons, strict=True):
            outcome.refused = reason
            if outcome.record is not None:
                outcome.record = replace(outcome.record, label=f"verified by {verdict.judge}")
        return made

    def _fit(self, image: Tensor, size: tuple[int, ...]) -> Tensor:
        have = tuple(image.shape[-2:])
        if have == size:
            return image
        self._check_size(have, size)
        return _resize(image, size)

    def _check_size(self, have: tuple[int, ...], size: tuple[int, ...]) -> None:
        if size[0] != size[1]:
            raise ImageValueError(
                f"items of {size[0]} x {size[1]} cannot take a generated square image; crop them with "
                "CropToFieldOfView[d](size=...) first"
            )
        if size[0] > have[0] and not self.allow_upsampling:
            raise ImageValueError(
                f"items of {size[0]} px are larger than the generator's {have[0]} px, whose images would be enlarged "
                f"to blur: resize the items to {have[0]} px before this transform, or pass allow_upsampling=True"
            )


def _resize(image: Tensor, size: tuple[int, ...]) -> Tensor:
    return torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False).clamp(
        0, 1
    )


def _shrink(images: Tensor, size: int) -> Tensor:
    return images if images.shape[-1] == size else _resize(images, (size, size))


def _by_mode(plans: Sequence[AugmentationPlan], rows: Sequence[int]) -> list[list[int]]:
    modes = dict.fromkeys(plans[i].mode for i in rows)
    return [[i for i in rows if plans[i].mode == mode] for mode in modes]


def _rows(masks: Mapping[str, Tensor] | None, rows: list[int]) -> dict[str, Tensor]:
    return {name: mask[rows] for name, mask in (masks or {}).items()}
