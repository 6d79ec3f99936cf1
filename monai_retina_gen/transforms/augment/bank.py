"""A bank of generated images, made ahead by `expand` and picked from at training time, and plans carried out from it.

The fastest placement, and the only one that works with any number of workers of any kind.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import read_manifest, read_mask
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.data.plain_tensor import in_bytes
from monai_retina_gen.data.record import MANIFEST, GenerationRecord, verify_file
from monai_retina_gen.editing import Gate
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.opened_once import OpenedOnce, file_stamps
from monai_retina_gen.transforms.augment.outcome import Outcome
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.real_images import RealImages, fitted

SETTINGS = "expand.json"  # what `expand` was asked for

_OPENED: OpenedOnce[_OpenBank] = OpenedOnce()


class ImageBank:
    """Specification of a bank; opened lazily, once per process, and shared; opened again when it was made anew.

    `cache_mb` megabytes of decoded images are kept. `DatalistError` on first use, if the folder has no manifest, a
    picked file was changed, or a grade has no image.
    """

    def __init__(self, folder: str | os.PathLike[str], *, cache_mb: int = 512) -> None:
        self.folder, self.cache_mb = os.path.abspath(folder), cache_mb

    def pick(self, grade: int, seed: int) -> tuple[Tensor, GenerationRecord]:
        """The image of `grade` that `seed` chooses, `(3, H, W)` in [0, 1], and its record."""
        return self._opened().pick(grade, seed)

    def masks(self, grade: int, seed: int) -> dict[str, Tensor]:
        """Masks `(1, H, W)` in [0, 1] of the image that `pick` gives for the same arguments; none for samples."""
        return self._opened().masks(grade, seed)

    @property
    def refused_grades(self) -> frozenset[int]:
        """Grades that `expand` was asked for and of which its gate refused every image."""
        return self._opened().refused

    def _opened(self) -> _OpenBank:
        state = file_stamps(os.path.join(self.folder, name) for name in (MANIFEST, SETTINGS))
        return _OPENED.get((self.folder, self.cache_mb), state, lambda: _OpenBank(self.folder, self.cache_mb))

    def __deepcopy__(self, memo: dict[int, Any]) -> ImageBank:
        return self


class _OpenBank:
    def __init__(self, folder: str, cache_mb: int) -> None:
        self.folder = folder
        self.by_grade: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for entry in read_manifest(folder):
            self.by_grade[entry["grade"]].append(entry)
        self.refused = frozenset(_asked_for(folder) - set(self.by_grade))
        self.cache: dict[str, Tensor] = {}
        self.room = cache_mb * 2**20

    def pick(self, grade: int, seed: int) -> tuple[Tensor, GenerationRecord]:
        entry = self._entry(grade, seed)
        return self._read(entry), GenerationRecord(**entry["record"])

    def masks(self, grade: int, seed: int) -> dict[str, Tensor]:
        return {name: self._read(file, mask=True) for name, file in self._entry(grade, seed).get("masks", {}).items()}

    def _entry(self, grade: int, seed: int) -> dict[str, Any]:
        entries = self.by_grade.get(grade)
        if not entries:
            raise DatalistError(
                f"bank {self.folder} has no image of grade {grade} (it has grades {sorted(self.by_grade)}); run "
                "`expand` for that grade or set its `prob` to 0"
            )
        return entries[seed % len(entries)]

    def _read(self, entry: dict[str, Any], *, mask: bool = False) -> Tensor:
        path = entry["image"]
        if path in self.cache:
            return self.cache[path].float() / 255
        verify_file(entry)
        image = torch.as_tensor(read_mask(path) if mask else read_image(path))
        size = image.numel()
        if size <= self.room:  # images are 8-bit on disk, so nothing is lost
            self.cache[path] = in_bytes(image)
            self.room -= size
        return image


def _asked_for(folder: str) -> set[int]:
    """Grades in the settings that `expand` left in its folder; none where it made the bank in another way."""
    path = Path(folder) / SETTINGS
    counts = json.loads(path.read_text(encoding="utf-8")).get("counts", {}) if path.is_file() else {}
    return {int(grade) for grade, number in counts.items() if number}


class FromBank:
    """Picks the image that a plan's seed chooses from a folder that `expand` wrote."""

    def __init__(self, folder: str | os.PathLike[str], *, allow_upsampling: bool = False) -> None:
        self.bank, self.allow_upsampling = ImageBank(folder), allow_upsampling

    def check_modes(self, modes: Sequence[str]) -> None:
        """`ValueError` for a mode that no bank serves."""
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
