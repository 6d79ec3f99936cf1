"""Images that a generator makes for plans: one call for a batch of them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import CONDITION_KEYS, MaskComposer
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.editing import Gate
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.generators import GeneratedBatch, GeneratorHandle, RetinaGenerator
from monai_retina_gen.networks.inputs import resized
from monai_retina_gen.transforms.augment.canvases import Canvases, CanvasEye
from monai_retina_gen.transforms.augment.conditions import ConditionMasks
from monai_retina_gen.transforms.augment.outcome import Outcome
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.real_images import RealImages, check_size, fitted


class FromGenerator:
    """Carries out plans with one generator; the arguments are those of `GenerativeAugment`."""

    def __init__(
        self,
        generator: str | os.PathLike[str] | RetinaGenerator,
        *,
        device: str = "cpu",
        trust_code: bool = False,
        allow_upsampling: bool = False,
        lesion_bank: str | os.PathLike[str] | MaskComposer | None = None,
        canvas: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        canvas_grades: Collection[int] = (2, 3),
        synthesize_options: Mapping[str, Any] | None = None,
        edit_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.handle = GeneratorHandle(generator, device=device, trust_code=trust_code)
        self.allow_upsampling, self.conditions = allow_upsampling, ConditionMasks(lesion_bank)
        self.canvases = None if canvas is None else Canvases(canvas, grades=canvas_grades)
        self.synthesize_options, self.edit_options = dict(synthesize_options or {}), dict(edit_options or {})
        _check_not_ours("edit_options", self.edit_options, RetinaGenerator.edit)
        _check_not_ours("synthesize_options", self.synthesize_options, RetinaGenerator.synthesize)

    def check_modes(self, modes: Sequence[str]) -> None:
        """Raise `UnsupportedModeError` for a mode that the generator lacks."""
        for mode in modes:
            self.handle.get().check_mode(mode)

    def refusal(self, plan: AugmentationPlan) -> str:
        """Why the generator has no image for a plan, `""` where it has."""
        if plan.mode == "synthesize" and self.canvases is not None and plan.grade not in self.canvases.grades:
            return f"grade {plan.grade} is not painted on canvases (canvas_grades={sorted(self.canvases.grades)})"
        if plan.mode != "sample" or plan.grade not in self.handle.get().missing_grades:
            return ""
        return f"{self.handle.get().name} has no image of grade {plan.grade}"

    def edit(
        self, plans: Sequence[AugmentationPlan], real: RealImages, *, gate: Gate | None = None, tries: int = 1
    ) -> list[Outcome]:
        """Edits under a gate, which the generator asks itself; see `RetinaGenerator.edit`."""
        seen = _seen(real)
        with self.handle.lent("edit") as generator:
            batch = generator.edit(
                seen,
                [plan.grade for plan in plans],
                seeds=[plan.seed for plan in plans],
                lesion=[plan.lesion for plan in plans],
                strength=[plan.strength for plan in plans],
                masks=real.masks,
                gate=gate,
                groups=real.groups,
                tries=tries,
                sources=real.sources,
                **self.edit_options,
            )
        _check_judged(batch, gate)
        kept = {name: mask for name, mask in batch.masks.items() if name in real.masks}
        refused = [str(record.options.get("refused", "")) for record in batch.records]
        outcomes = self._outcomes(replace(batch, masks=kept), real)
        return [Outcome(refused=no) if no else made for no, made in zip(refused, outcomes, strict=True)]

    def make(self, plans: Sequence[AugmentationPlan], real: RealImages) -> list[Outcome]:
        """Samples, reconstructions or synthesized images; all plans have the same mode."""
        grades, seeds = [plan.grade for plan in plans], [plan.seed for plan in plans]
        mode = plans[0].mode
        if mode == "synthesize":
            return self._synthesize(plans, real) if self.canvases is None else self._on_canvases(plans, real)
        with self.handle.lent(mode) as generator:
            if mode == "sample":
                batch = generator.sample(grades, seeds=seeds)
            else:
                batch = generator.reconstruct(resized(_seen(real), generator.image_size), grades, sources=real.sources)
        return self._outcomes(batch, real)

    def _synthesize(self, plans: Sequence[AugmentationPlan], real: RealImages) -> list[Outcome]:
        """Images with the masks that they were made from, at the size of the items."""
        grades, seeds = [plan.grade for plan in plans], [plan.seed for plan in plans]
        size = tuple(real.images.shape[-2:])
        with self.handle.lent("synthesize") as generator:
            side = generator.image_size
            check_size((side, side), size, allow_upsampling=self.allow_upsampling)
            wanted, notes = self.conditions(plans, real.masks, size)
            asked = {k: fitted(mask, (side, side), allow_upsampling=True) for k, mask in wanted.items()}
            own = {} if self.conditions.composer else generator.own_masks_options
            batch = generator.synthesize(asked, grades, seeds=seeds, **{**own, **self.synthesize_options})
        changed = {k: m for k, m in batch.masks.items() if k not in asked or not torch.equal(m.to(asked[k]), asked[k])}
        records = [
            replace(record, options={**record.options, **note})
            for record, note in zip(batch.records, notes, strict=True)
        ]
        return self._outcomes(replace(batch, masks={**wanted, **changed}, records=records), real)

    def _on_canvases(self, plans: Sequence[AugmentationPlan], real: RealImages) -> list[Outcome]:
        """Healthy eyes painted to the plans' grades."""
        assert self.canvases is not None  # make
        side, where = int(real.images.shape[-1]), zip(plans, real.groups, real.sources, strict=True)
        eyes = [self.canvases.draw(plan.seed, side, group=group, path=path) for plan, group, path in where]
        outcomes = [Outcome(refused=_unfit(eye, real)) for eye in eyes]
        rows = [i for i, outcome in enumerate(outcomes) if not outcome.refused]
        if not rows:
            return outcomes
        own, images = [eyes[i] for i in rows], real.images
        shared = set.intersection(*(set(eye.masks) for eye in own))
        with self.handle.lent("synthesize") as generator:
            batch = generator.synthesize(
                {name: torch.stack([eye.masks[name] for eye in own]).to(images) for name in sorted(shared)},
                [plans[i].grade for i in rows],
                seeds=[plans[i].seed for i in rows],
                canvas=torch.stack([eye.image.as_tensor() for eye in own]).to(images),
                sources=[str(eye.item["image"]) for eye in own],
                **self.synthesize_options,
            )
        for row, made in zip(rows, self._outcomes(batch, real.take(rows)), strict=True):
            refused = str(made.record.options.get("refused", "")) if made.record else ""
            outcomes[row] = Outcome(refused=refused) if refused else replace(made, eye=eyes[row])
        return outcomes

    def _outcomes(self, batch: GeneratedBatch, real: RealImages) -> list[Outcome]:
        size = tuple(real.images.shape[-2:])
        images, masks = (
            {k: fitted(x, size, allow_upsampling=self.allow_upsampling).to(real.images) for k, x in each.items()}
            for each in ({"": batch.image}, batch.masks)
        )
        return [
            Outcome(images[""][i], _sourced(record, real.sources[i]), {k: m[i] for k, m in masks.items()})
            for i, record in enumerate(batch.records)
        ]


def _seen(real: RealImages) -> Tensor:
    """The images as generators want them: interpolation may leave values that are 1e-4 outside [0, 1]."""
    return real.images.float().clamp(0, 1)


def _unfit(eye: CanvasEye, real: RealImages) -> str:
    """Why an item cannot become a canvas, `""` where it can."""
    lacking = [repr(key) for key in sorted(real.others, key=str) if key not in eye.item]
    lacking += [repr(name) for name in real.masks if name not in CONDITION_KEYS]
    if not lacking:
        return ""
    return f"canvas {eye.item['image']}: it has no {', '.join(lacking)}, which the item has: drop them from the items"


def _sourced(record: GenerationRecord, source: str) -> GenerationRecord:
    """The record with the photograph that its image was made from, if it was made from one."""
    return record if record.source or record.mode == "sample" else replace(record, source=source)


def _check_judged(batch: GeneratedBatch, gate: Gate | None) -> None:
    """Raise where a generator of someone else's was given a gate and did not ask it."""
    unjudged = [r for r in batch.records if r.label == "unverified" and not r.options.get("refused")]
    if gate is not None and unjudged:
        raise ImageValueError(
            f"generator {unjudged[0].generator!r}: `edit` got a gate and returned an image that its record calls "
            '"unverified": implement `begin_edits` instead of `edit`, or pass gate=None'
        )


def _check_not_ours(name: str, options: Mapping[str, Any], method: Callable[..., Any]) -> None:
    """Raise `TypeError` for options that the transform gives itself."""
    ours = sorted(set(options) & set(inspect.signature(method).parameters))
    if ours:
        raise TypeError(f"{name}: {ours} are given by the transform: set them by its own arguments, such as strength=")
