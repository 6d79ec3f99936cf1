"""One batch of `expand`: whose eyes and lesions it is made of, made, written, and read again where all of it stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.data import (
    CONDITION_KEYS,
    LESION_MASKS,
    RECORD_KEY,
    Item,
    MaskComposer,
    icdr_grade,
    write_image,
    write_json,
    write_mask,
)
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.generators.content_record import items_sha256
from monai_retina_gen.transforms.augment.outcome import Outcome
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.real_images import RealImages
from monai_retina_gen.transforms.augment.source import AugmentationSource
from monai_retina_gen.transforms.crop_field_of_viewd import load_cropped


@dataclass(frozen=True)
class Entry:
    """An image that was written: its path in the folder, record, group, and the paths of its masks by key."""

    name: str
    record: GenerationRecord
    group: str
    masks: dict[str, str]


def finished_batch(
    folder: Path,
    source: AugmentationSource,
    size: int,
    grades: Sequence[int],
    seeds: Sequence[int],
    start: int,
    eyes: MaskSource | None,
) -> list[Entry]:
    """Make one batch of images of `grades` from `seeds`, or read it where all of it stands.

    `start` is the index of the first in the folder of `expand`, `eyes` gives masks to make them from: None for samples,
    and for canvases, which the source has.
    """
    done = folder / "batches" / f"{start:07d}.json"
    standing = _read(done)
    files = [file for entry in standing for file in (entry.name, *entry.masks.values())]
    if done.is_file() and all((folder / file).is_file() for file in files):
        return standing
    names = [f"images/grade{grade}/{start + i:06d}.png" for i, grade in enumerate(grades)]
    outcomes, groups = _make(source, size, grades, seeds, eyes)
    entries = [
        _write(folder, name, outcome, group or f"generated/{name}")
        for name, outcome, group in zip(names, outcomes, groups, strict=True)
        if outcome.image is not None
    ]
    done.parent.mkdir(exist_ok=True)
    rows = [{"name": e.name, "record": json.loads(e.record.to_json()), "group": e.group} for e in entries]
    write_json([{**row, "masks": e.masks} for row, e in zip(rows, entries, strict=True)], done)
    return entries


def _read(done: Path) -> list[Entry]:
    rows: list[dict[str, Any]] = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else []
    return [Entry(row["name"], GenerationRecord(**row["record"]), row["group"], row["masks"]) for row in rows]


def _make(
    source: AugmentationSource,
    size: int,
    grades: Sequence[int],
    seeds: Sequence[int],
    eyes: MaskSource | None,
) -> tuple[list[Outcome], list[str]]:
    """Outcomes, and the group of the photograph that each one's masks are of."""
    sampled = eyes is None and not source.has_canvases
    mode, empty = "sample" if sampled else "synthesize", torch.zeros(len(grades), 3, size, size)
    plans = [AugmentationPlan(mode, g, s) for g, s in zip(grades, seeds, strict=True)]
    nowhere, nobody = [""] * len(plans), list[str | None]([None] * len(plans))
    if eyes is None:
        outcomes = source.apply(plans, RealImages(empty, {}, nowhere, nobody))
        return outcomes, ["" if each.eye is None else str(each.eye.item["group"]) for each in outcomes]
    drawn = [eyes.draw(plan.grade, plan.seed) for plan in plans]
    paths = [str(item["image"]) for item, _ in drawn]
    outcomes = source.apply(plans, RealImages(empty, stacked([masks for _, masks in drawn]), paths, nobody))
    return outcomes, [str(item["group"]) for item, _ in drawn]


def _write(folder: Path, name: str, outcome: Outcome, group: str) -> Entry:
    if outcome.image is None or outcome.record is None:
        raise ValueError(f"{name}: an image without a record must not be written")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    masks = write_masks(folder, name, outcome.masks)
    text = {RECORD_KEY: outcome.record.to_json()}
    write_image(folder / name, outcome.image, text=text, xmp=outcome.record.to_xmp())
    return Entry(name, outcome.record, group, masks)


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
