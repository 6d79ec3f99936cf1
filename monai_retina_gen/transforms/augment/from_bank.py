"""Images from a bank that was made ahead."""

from __future__ import annotations

import os
from collections.abc import Sequence

from monai_retina_gen.editing import Gate
from monai_retina_gen.transforms.augment.bank import ImageBank
from monai_retina_gen.transforms.augment.fitting import fitted
from monai_retina_gen.transforms.augment.outcome import Outcome
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.real_images import RealImages

__all__ = ["FromBank"]


class FromBank:
    """Picks the image that a plan's seed chooses.

    Args:
        folder: what `expand` wrote.
        allow_upsampling: allow its images to be enlarged to larger items.
    """

    def __init__(self, folder: str | os.PathLike[str], *, allow_upsampling: bool = False) -> None:
        self.bank, self.allow_upsampling = ImageBank(folder), allow_upsampling

    def check_modes(self, modes: Sequence[str]) -> None:
        """Raise `ValueError` for a mode that no bank serves."""
        if not set(modes) <= {"sample", "synthesize"}:
            raise ValueError(
                f"a bank holds images made ahead: mode must be 'sample' or 'synthesize', got {list(modes)}"
            )

    def refusal(self, plan: AugmentationPlan) -> str:
        """Why there is no image for a plan, `""` where there is."""
        if plan.grade not in self.bank.refused_grades:
            return ""
        return f"the gate refused every image of grade {plan.grade} when the bank was made"

    def edit(
        self, plans: Sequence[AugmentationPlan], real: RealImages, *, gate: Gate | None = None, tries: int = 1
    ) -> list[Outcome]:
        """A bank has no edits: always raises."""
        self.check_modes(["edit"])
        return []

    def make(self, plans: Sequence[AugmentationPlan], real: RealImages) -> list[Outcome]:
        """An outcome for each plan, at the size of the real images."""
        return [self._pick(plan, real) for plan in plans]

    def _pick(self, plan: AugmentationPlan, real: RealImages) -> Outcome:
        image, record = self.bank.pick(plan.grade, plan.seed)
        masks = self.bank.masks(plan.grade, plan.seed) if plan.mode == "synthesize" else {}
        size = tuple(real.images.shape[-2:])
        made = {
            name: fitted(each[None], size, allow_upsampling=self.allow_upsampling)[0].to(real.images)
            for name, each in {"": image, **masks}.items()
        }
        return Outcome(made.pop(""), record, made)
