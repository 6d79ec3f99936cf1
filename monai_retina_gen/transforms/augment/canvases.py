"""Canvases: healthy photographs that items may become, painted to the items' grades, and what items take over then."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.data import ICDR_GRADE, MASK_KEYS, SECTIONS, icdr_grade, load_datalist
from monai_retina_gen.data.names import ANATOMY
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.transforms.crop_field_of_viewd import load_cropped

HEALTHY, PROLIFERATIVE = 0, 4
KEPT = 32  # eyes in memory
NOTES = ("_generated", "_refused")


@dataclass(frozen=True)
class CanvasEye:
    """A healthy eye: its item in the datalist, photograph `(3, S, S)` and masks `(1, S, S)`, cropped alike."""

    item: Mapping[str, Any]
    image: MetaTensor
    masks: Mapping[str, Tensor]


class Canvases:
    """Healthy photographs of a datalist, from which a seed draws one.

    Args:
        source: datalist (file, name or dictionary), of which an item gets canvases of its own section; or a list of
            items, which must all be healthy and of the items' section. They say their grade under `grade`.
        grades: that healthy eyes may be painted to: 2 and 3. 4 comes with a warning: nothing that is painted makes one.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        grades: Collection[int] = (2, 3),
    ) -> None:
        self.source = os.path.abspath(source) if isinstance(source, os.PathLike) else source
        if not isinstance(source, (str, os.PathLike, Mapping)) and not all(isinstance(i, Mapping) for i in source):
            raise ValueError(f"canvas: want a datalist or a list of items (dictionaries), not {source!r:.200}")
        self.grades = frozenset(check_whole("canvas_grades", g) for g in grades)
        if not self.grades or not self.grades <= {1, 2, 3, 4}:
            raise ValueError(f"canvas_grades {sorted(grades)}: want some of 1, 2, 3 and 4")
        if PROLIFERATIVE in self.grades:
            warnings.warn(
                "canvas_grades has 4: new vessels and preretinal blood are not painted, so that what is called 4 looks "
                "like a severe 3",
                UserWarning,
                stacklevel=2,
            )
        self._load = lru_cache(maxsize=KEPT)(_load)

    def draw(self, seed: int, side: int, *, group: str | None = None, path: str = "") -> CanvasEye:
        """The canvas that a seed chooses for an item, whose section is known by its group, else by its `path`.

        An item that the datalist does not have is one of training. `DatalistError` without a healthy photograph.
        """
        section = self.section_of(group, path)
        items = self._healthy.get(section, [])
        if not items:
            raise DatalistError(f"canvas: no healthy photograph (grade 0) under {section!r}")
        item = items[int(np.random.default_rng([seed, 0x63616E76]).integers(len(items)))]
        image, masks = self._load(tuple(sorted((k, item[k]) for k in ("image", *ANATOMY) if k in item)), side)
        return CanvasEye(item, image, masks)

    def section_of(self, group: str | None, path: str) -> str:
        """Section of the datalist that an item is in."""
        return self._sections.get(("group", group), self._sections.get(("image", path), SECTIONS[0]))

    @cached_property
    def _read(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        if isinstance(self.source, (str, Mapping)):
            found: Mapping[str, Any] = load_datalist(self.source)
            return {section: found[section] for section in SECTIONS}
        listed = {SECTIONS[0]: [dict(item) for item in self.source]}
        items = load_datalist(listed)[SECTIONS[0]]
        wrong = [str(item["image"]) for item in items if "grade" not in item or icdr_grade(item)]
        if wrong:
            raise DatalistError(
                f"canvas: {len(wrong)} of {len(items)} items are not known to be healthy (grade 0 under "
                f"'grade'), such as {wrong[0]}: leave them out"
            )
        return {SECTIONS[0]: items}

    @cached_property
    def _healthy(self) -> Mapping[str, list[Mapping[str, Any]]]:
        return {
            section: [i for i in items if "grade" in i and icdr_grade(i) == HEALTHY]
            for section, items in self._read.items()
        }

    @cached_property
    def _sections(self) -> Mapping[tuple[str, str | None], str]:
        if not isinstance(self.source, (str, Mapping)):
            return {}
        by_section = [(section, item) for section, items in self._read.items() for item in items]
        return {(key, str(item[key])): section for key in ("group", "image") for section, item in by_section}

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "grades": self.grades}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load = lru_cache(maxsize=KEPT)(_load)

    def __deepcopy__(self, memo: dict[int, Any]) -> Canvases:
        return self


def _load(paths: tuple[tuple[str, str], ...], side: int) -> tuple[MetaTensor, dict[str, Tensor]]:
    return load_cropped(dict(paths), [key for key, _ in paths if key != "image"], side)


def other_keys(item: Mapping[Any, Any], own: Collection[Any]) -> frozenset[Any]:
    """Keys of an item that say something of its eye: all but those of image, label and masks, and our notes."""
    return frozenset(key for key in item if key not in (*own, *MASK_KEYS, ICDR_GRADE) and not str(key).endswith(NOTES))


def becomes(item: Mapping[Any, Any], eye: CanvasEye, grade: int, own: Collection[Any]) -> dict[Any, Any]:
    """The item with what its canvas says in place of its own; paths of masks that the canvas lacks are gone.

    The painted image, and masks, under the keys `own`, are in place already.
    """
    made = {key: eye.item[key] if key in other_keys(item, own) else value for key, value in item.items()}
    for key in (k for k in MASK_KEYS if isinstance(made.get(k), str) and k not in own):
        del made[key]
        made |= {key: eye.item[key]} if key in eye.item else {}
    return made | ({ICDR_GRADE: grade} if ICDR_GRADE in item else {})


def row_becomes(batch: dict[Any, Any], row: int, eye: CanvasEye, grade: int, own: Collection[Any]) -> None:
    """The same for one row of a collated batch, whose lists and tensors are replaced, not written to."""
    for key in other_keys(batch, own):
        batch[key] = _with_row(batch[key], row, eye.item[key])
    if ICDR_GRADE in batch:
        batch[ICDR_GRADE] = _with_row(batch[ICDR_GRADE], row, grade)


def _with_row(values: Any, row: int, value: Any) -> Any:
    if isinstance(values, Tensor):
        rows = values.clone()
        rows[row] = torch.as_tensor(value).to(rows)
        return rows
    listed = list(values)
    listed[row] = value
    return listed
