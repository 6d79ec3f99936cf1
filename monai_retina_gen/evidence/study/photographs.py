"""Photographs decoded once and kept in memory, as 8 bits like the files that generated images come from."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from monai_retina_gen.data import GRADE_MAPS, ICDR_GRADE, Item, LabelGrades, count_label_grades, icdr_grade
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet, load_eye, to_bytes

from .side_by_side import mapped


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


def load_photographs(
    items: Sequence[Item],
    size: int,
    grade_map: str | None,
    what: str,
    *,
    label_key: str = "grade",
    label_grades: LabelGrades | None = None,
    jobs: int = 1,
) -> Photographs:
    """Load graded photographs, cropped to the field of view, in `jobs` processes.

    Args:
        items: items with `image`, `group` and a grade or label under `label_key`.
        size: side of the images in pixels.
        grade_map: name in `GRADE_MAPS`, or None.
        what: name of the section, for errors.
        label_key: key of the grade, or label.
        label_grades: what labels stand for, where items have labels in place of grades.
        jobs: processes that decode.

    Raises:
        DatalistError: no items, or labels in place of grades without `label_grades`.
    """
    if not items:
        raise DatalistError(f"{what}: no graded photographs; a study needs some in every section")
    pixels = mapped(partial(_decoded, size=size), [item["image"] for item in items], jobs)
    images = torch.from_numpy(np.stack(pixels))
    labels = [item[label_key] for item in items]
    own = label_grades is None or all(ICDR_GRADE in item for item in items)
    if label_grades is None:
        _check_not_mapped(items, what, label_key)
    grades = given_out(labels, label_grades) if label_grades and not own else [icdr_grade(i, label_key) for i in items]
    if grade_map is not None:
        labels = [GRADE_MAPS[grade_map][grade] for grade in grades]
    graded = [{**item, "grade": grade} if own else item for item, grade in zip(items, grades, strict=True)]
    return Photographs.of(images, torch.tensor(labels), grades, graded, own)


def _decoded(path: str, size: int) -> npt.NDArray[np.uint8]:
    return to_bytes(load_eye({"image": path}, size)["image"]).numpy()


def _check_not_mapped(items: Sequence[Item], what: str, label_key: str) -> None:
    if any(ICDR_GRADE in item for item in items):
        raise DatalistError(
            f"{what}: the photographs have labels in place of grades; give the study the datalist without grade_map "
            f"and a grade_map of its own, or label_grades={count_label_grades(items, label_key)}"
        )


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
