"""Carrying out drawn augmentations: from a generator or from a bank, with bounded tries under a gate.

All forms of `GenerativeAugment` come through here; an item is a batch of one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.data import MaskComposer
from monai_retina_gen.editing import Gate, resolve_gate
from monai_retina_gen.generators import GeneratorHandle, RetinaGenerator
from monai_retina_gen.transforms.augment.background import WAITING, BackgroundEdits
from monai_retina_gen.transforms.augment.canvases import Canvases
from monai_retina_gen.transforms.augment.conditions import ConditionMasks
from monai_retina_gen.transforms.augment.from_bank import FromBank
from monai_retina_gen.transforms.augment.from_generator import FromGenerator
from monai_retina_gen.transforms.augment.gating import under_gate
from monai_retina_gen.transforms.augment.outcome import Outcome
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.real_images import RealImages

__all__ = ["AugmentationSource"]


class AugmentationSource:
    """Where augmented images come from: a generator, or a bank of its images.

    Args:
        generator: bundle name, folder or generator object; not needed with `bank`, which then serves alone.
        bank: folder that `expand` wrote; serves the modes `sample` and, where it has masks, `synthesize`.
        device: where the generator runs.
        trust_code: see `load_generator`.
        gate: `None`, `"label"`, or an object with `Gate`'s method.
        max_retries: further tries after a refusal, before the real image is kept.
        allow_upsampling: allow a generator's image to be enlarged to a larger item.
        lesion_bank: see `ConditionMasks`.
        synthesize_options: further arguments of the generator's `synthesize`.
        edit_options: further arguments of the generator's `edit`, such as `{"step": "mu", "blend": "replace"}`.
        canvas: for `"synthesize"`: datalist, or list of items, of whose healthy photographs (grade 0) one is painted to
            the item's grade and takes its place, with its masks and everything that its item says; see `Canvases`.
        canvas_grades: grades of items that may become a canvas.
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
        canvas: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        canvas_grades: Collection[int] = (2, 3),
        background: float | None = None,
    ) -> None:
        self.maker: FromBank | FromGenerator
        if bank is not None:
            self.maker = FromBank(bank, allow_upsampling=allow_upsampling)
        elif generator is not None:
            self.maker = FromGenerator(
                GeneratorHandle(generator, device=device, trust_code=trust_code),
                conditions=ConditionMasks(lesion_bank),
                canvases=None if canvas is None else Canvases(canvas, grades=canvas_grades),
                allow_upsampling=allow_upsampling,
                synthesize_options=synthesize_options,
                edit_options=edit_options,
            )
        else:
            raise ValueError("give `generator` (a bundle's name or folder) or `bank` (a folder made by `expand`)")
        self.gate, self.tries = resolve_gate(gate), check_whole("max_retries", max_retries, least=0) + 1
        self.background = None if background is None else BackgroundEdits(self._edit_one, share=background)

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
