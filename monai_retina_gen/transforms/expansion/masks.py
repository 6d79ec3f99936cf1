"""Masks for `expand` with a generator that makes images from masks: whose eye, which lesions, and the files of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.data import CONDITION_KEYS, LESION_MASKS, Item, MaskComposer, icdr_grade, write_mask
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.generators.content_record import items_sha256
from monai_retina_gen.transforms.crop_field_of_viewd import load_cropped

PROLIFERATIVE = 4
FAINTEST = 0.01  # below a hundredth is written as 0: 1/255 alone could be read back as 1
KEPT = 64  # eyes in memory


class MaskSource:
    """Eyes to synthesize for: the masks of photographs, cropped as their photograph is.

    With a composer, vessels, disc and field of view are taken from photographs of any grade, but those of grade 4 only
    for grade 4, since their vessel maps may show new vessels. Without, the lesions of the photograph itself, and only
    photographs of the grade that is asked for. `DatalistError` if no item has the mask `vessel`.
    """

    def __init__(self, items: Sequence[Item], size: int, composer: MaskComposer | None) -> None:
        self.items = [item for item in items if "vessel" in item]
        if not self.items:
            raise DatalistError(
                f"masks: none of {len(items)} photographs has the mask 'vessel'; `monai-retina-gen segment` "
                "writes masks for any photographs"
            )
        self.size, self.composer = size, composer
        self._load = lru_cache(maxsize=KEPT)(self._masks)

    def draw(self, grade: int, seed: int) -> tuple[Item, dict[str, Tensor]]:
        """The item and masks `(1, size, size)` that `seed` chooses for a grade."""
        rows = self._candidates(grade)
        if not rows:
            raise DatalistError(
                f"masks: no photograph for grade {grade}; leave the grade out of the counts, or compose its lesions "
                "(a lesion bank) on photographs of other grades"
            )
        row = rows[int(np.random.default_rng([seed, 0x65796573]).integers(len(rows)))]
        return self.items[row], self._load(row)

    def digest(self) -> str:
        """sha256 of what images depend on: masks, grades, groups, and the photographs, by which masks are cropped."""
        masks = [key for key in CONDITION_KEYS if self.composer is None or key not in LESION_MASKS]
        return items_sha256(self.items, ("image", "grade", "group", *masks))

    def _candidates(self, grade: int) -> list[int]:
        grades = [icdr_grade(item) if "grade" in item else None for item in self.items]
        if self.composer is None:
            return [row for row, g in enumerate(grades) if g == grade]
        return [row for row, g in enumerate(grades) if grade == PROLIFERATIVE or g != PROLIFERATIVE]

    def _keys(self, item: Item) -> list[str]:
        return [k for k in CONDITION_KEYS if k in item and not (self.composer is not None and k in LESION_MASKS)]

    def _masks(self, row: int) -> dict[str, Tensor]:
        return load_cropped(self.items[row], self._keys(self.items[row]), self.size)[1]


def stacked(masks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Masks of several eyes as batches `(B, 1, H, W)`; a lesion that an eye lacks is absent from it."""
    keys = [key for key in CONDITION_KEYS if any(key in each for each in masks)]
    size = next(iter(masks[0].values())).shape
    return {key: torch.stack([each.get(key, torch.zeros(size)) for each in masks]) for key in keys}


def write_masks(folder: Path, image: str, masks: Mapping[str, Any]) -> dict[str, str]:
    """Write the masks of an image, whose path in the folder is `images/...`; returns their paths by key."""
    names = {}
    for key in (k for k in CONDITION_KEYS if k in masks):
        names[key] = f"masks/{key}/{image.removeprefix('images/')}"
        (folder / names[key]).parent.mkdir(parents=True, exist_ok=True)
        mask = masks[key].cpu()
        write_mask(folder / names[key], torch.where(mask < FAINTEST, 0.0, mask))
    return names
