"""Photographs of a study, decoded once and kept as 8 bits like generated images, with their masks and lesions."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from monai_retina_gen.data import (
    CONDITION_KEYS,
    GRADE_MAPS,
    ICDR_GRADE,
    Item,
    LabelGrades,
    LesionBank,
    count_label_grades,
    icdr_grade,
)
from monai_retina_gen.data.bank_building import bank_of_eyes, eye_lesions
from monai_retina_gen.data.lesion_rules import annotated_lesions, merge_masks
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet, load_eye, to_bytes
from monai_retina_gen.networks import PAINTED_LESIONS

from .config import StudyConfig

PREDICTED = "predicted_masks"  # key of an item: which of its masks are predicted
_eyes: dict[str, LesionBank | None] = {}
_masks: dict[tuple[str, int], dict[str, npt.NDArray[np.uint8]]] = {}


@dataclass(frozen=True)
class Photographs(ImageSet):
    """Photographs of a section; make them with `of`. Names are without folders: results say nothing of the machine."""

    labels: Tensor  # (N,) int64, what graders learn: the grade, or the grade through a grade map
    items: list[Item]  # the datalist's, in the same order
    own_grades: bool = True
    """Whether grades are the photographs' own; else labels stand for several, given out as often as in the data."""

    @classmethod
    def of(
        cls, images: Tensor, labels: Tensor, grades: list[int], items: list[Item], own_grades: bool = True
    ) -> Photographs:
        """Photographs with names and groups of their items."""
        names = [os.path.basename(item["image"]) for item in items]
        return cls(images, grades, names, [str(item["group"]) for item in items], labels, items, own_grades)

    def select(self, rows: Sequence[int]) -> Photographs:
        """Those of the given rows."""
        index = torch.as_tensor(rows, dtype=torch.long)
        grades, items = [self.grades[i] for i in rows], [self.items[i] for i in rows]
        return Photographs.of(self.images[index], self.labels[index], grades, items, self.own_grades)

    def digest(self) -> str:
        """sha256 of pixels, labels, grades and groups."""
        whose = json.dumps([self.labels.tolist(), self.grades, self.groups]).encode()
        return hashlib.sha256(self.images.numpy().tobytes() + whose).hexdigest()


def load_photographs(items: Sequence[Item], what: str, config: StudyConfig, jobs: int = 1) -> Photographs:
    """Graded photographs of a section (`what`), cropped to the field of view, in `jobs` processes."""
    if not items:
        raise DatalistError(f"{what}: no graded photographs; a study needs some in every section")
    pixels = mapped(partial(_decoded, size=config.image_size), [item["image"] for item in items], jobs)
    labels = [item[config.label_key] for item in items]
    mapped_before = [ICDR_GRADE in item for item in items]
    if config.label_grades is None and any(mapped_before):
        raise DatalistError(
            f"{what}: the photographs have labels in place of grades; give the study the datalist without grade_map "
            f"and a grade_map of its own, or label_grades={count_label_grades(items, config.label_key)}"
        )
    own = config.label_grades is None or all(mapped_before)
    if own:
        grades = [icdr_grade(item, config.label_key) for item in items]
        items = [{**item, "grade": grade} for item, grade in zip(items, grades, strict=True)]
    else:
        grades = given_out(labels, LabelGrades(config.label_grades or {}))
    if config.grade_map is not None:
        labels = [GRADE_MAPS[config.grade_map][grade] for grade in grades]
    return Photographs.of(torch.from_numpy(np.stack(pixels)), torch.tensor(labels), grades, list(items), own)


def _decoded(path: str, size: int) -> npt.NDArray[np.uint8]:
    return to_bytes(load_eye({"image": path}, size)["image"]).numpy()


def given_out(labels: Sequence[int], label_grades: LabelGrades) -> list[int]:
    """A grade of its label for each photograph, each as often as `label_grades` says.

    Examples:
        >>> given_out([1, 0, 1, 1], LabelGrades({0: 0, 1: {2: 20, 3: 10}}))
        [2, 0, 2, 3]
    """
    seen: Counter[int] = Counter()
    grades = []
    for label in labels:
        grades.append(label_grades.draw(label, (seen[label] + 0.5) / labels.count(label)))
        seen[label] += 1
    return grades


def with_predicted(item: Item, predicted: Item | None) -> Item:
    """The item with predicted masks of what was not annotated, and their names.

    Examples:
        >>> with_predicted({"image": "a", "od": "real"}, {"image": "a", "od": "guess", "ex": "guess"})
        {'image': 'a', 'od': 'real', 'ex': 'guess', 'predicted_masks': ['ex']}
    """
    merged = merge_masks(item, predicted)
    return {**merged, PREDICTED: sorted(key for key in CONDITION_KEYS if key in merged and key not in item)}


def lesions_of(photographs: Photographs) -> LesionBank:
    """Lesions of these photographs alone; a `DatalistError` if none has a mask of a lesion."""
    graded = [item for item in photographs.items if "grade" in item]
    for item in graded:
        if _key(item) not in _eyes:
            _eyes[_key(item)] = _read_lesions(item)
    found = [_eyes[_key(item)] for item in graded]
    return bank_of_eyes([eye for eye in found if eye is not None], photographs.items)


def mask_keys(item: Item) -> tuple[str, ...]:
    """Masks of a photograph that are known: those it has, and lesions that were looked for and are not there.

    Examples:
        >>> mask_keys({"ex": "ex.png"}), mask_keys({"od": "od.png", "predicted_masks": ["od"]})
        (('ma', 'he', 'ex', 'se'), ('od', 'ma', 'he', 'ex', 'se'))
    """
    looked = set(PAINTED_LESIONS) if item.get(PREDICTED) else annotated_lesions(item) & set(PAINTED_LESIONS)
    return tuple(key for key in CONDITION_KEYS if key in item or key in looked)


def own_masks(item: Item, size: int) -> dict[str, Tensor]:
    """Masks of a photograph under `mask_keys`, as 8 bits, `(1, size, size)`."""
    key = (_key(item), size)
    if key not in _masks:
        _masks[key] = _read_masks(item, size)
    found = {name: torch.from_numpy(mask) for name, mask in _masks[key].items()}
    empty = torch.zeros(1, size, size, dtype=torch.uint8)
    return {name: found.get(name, empty) for name in mask_keys(item)}


def read_ahead(items: Sequence[Item], size: int, jobs: int) -> None:
    """Read masks and lesions of photographs in several processes, for this one and those that it forks."""
    wanted = [item for item in items if _key(item) not in _eyes]
    found = mapped(_read_lesions, wanted, jobs)
    _eyes.update({_key(item): eye for item, eye in zip(wanted, found, strict=True)})
    planes = mapped(partial(_read_masks, size=size), wanted, jobs)
    _masks.update({(_key(item), size): masks for item, masks in zip(wanted, planes, strict=True)})


def _key(item: Item) -> str:
    return json.dumps({key: item.get(key) for key in ("image", "grade", PREDICTED, *CONDITION_KEYS)}, default=str)


def _read_lesions(item: Item) -> LesionBank | None:
    guessed = item.get(PREDICTED, [])
    annotated: dict[str, Any] = {key: value for key, value in item.items() if key not in guessed}
    return eye_lesions(annotated, {"image": item["image"], **{key: item[key] for key in guessed}})


def _read_masks(item: Item, size: int) -> dict[str, npt.NDArray[np.uint8]]:
    keys = tuple(key for key in CONDITION_KEYS if key in item)
    eye = load_eye(item, size, keys) if keys else {}
    return {key: to_bytes(eye[key]).numpy() for key in keys}


Row = TypeVar("Row")
Made = TypeVar("Made")
_function: Callable[[Any], Any] | None = None


def mapped(function: Callable[[Row], Made], rows: Sequence[Row], jobs: int) -> list[Made]:
    """`function` of each row, begun in their order, in `jobs` processes; with one job in this process.

    The processes are forked, so that what was read before is read once for all; what `function` leaves in their memory
    is lost. A process that has begun to use a GPU cannot be forked. Where it fails for a row, the others are done
    before the error is raised.
    """
    global _function
    if jobs <= 1 or not rows:  # one row too goes to a process: this one must not begin to use the GPU
        return [function(row) for row in rows]
    if "fork" not in multiprocessing.get_all_start_methods():
        raise ValueError("jobs: this system cannot fork processes; use one")
    _function = function  # a fork has it, also where it could not be sent to another process
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(min(jobs, len(rows)), context, torch.set_num_threads, (1,)) as pool:
        done = [pool.submit(_call, row) for row in rows]
    return [each.result() for each in done]


def _call(row: Any) -> Any:
    assert _function is not None  # set before the fork
    return _function(row)
