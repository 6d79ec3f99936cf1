"""Counts of images by grade: from a datalist, and refused before anything is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai_retina_gen.data import (
    ICDR_GRADE,
    Item,
    LabelGrades,
    check_labels_are_grades,
    count_grades,
    count_label_grades,
    grade_of,
)
from monai_retina_gen.generators import RetinaGenerator


def balancing_counts(counts: Mapping[int, int]) -> dict[int, int]:
    """Images that each grade needs to reach the largest grade's count; a grade that the data lack stays without."""
    most = max(counts.values())
    return {grade: most - number if number else 0 for grade, number in counts.items()}


def counts_to_balance(
    items: Sequence[Item], classes: int, *, label_key: str = "grade", label_grades: Mapping[Any, Any] | None = None
) -> tuple[dict[int, int], dict[Any, Any] | None]:
    """Images that each grade or label of the items needs, and what labels stand for: by default what items' grades say.

    `ValueError` for labels that look like a binary task's without `label_grades`, or nothing to fill up.
    """
    if label_grades is None and any(ICDR_GRADE in item for item in items):
        label_grades = count_label_grades(items, label_key)
    counts = count_grades(items, num_classes=classes if label_grades is None else 5, label_key=label_key)
    if label_grades is None:
        check_labels_are_grades([grade for grade, number in counts.items() if number], "--datalist")
    needed = balancing_counts(counts)
    if not any(needed.values()):
        raise ValueError(f"--balance: the training photographs, by grade {counts}, leave nothing to fill up")
    return needed, None if label_grades is None else dict(label_grades)


def images_by_grade(counts: Mapping[Any, int], label_grades: LabelGrades | None = None) -> dict[int, int]:
    """Images to make of each grade, for counts by grade, or by label with `label_grades`.

    `ValueError` for a grade or number that is none, or nothing to make.

    Examples:
        >>> images_by_grade({1: 8}, LabelGrades({1: {2: 30, 3: 10}}))
        {2: 6, 3: 2}
    """
    numbers = {grade_of(g, "counts"): grade_of(n, f"counts: images of grade {g}") for g, n in counts.items()}
    if not sum(numbers.values()):
        raise ValueError(f"counts: {dict(counts)} came, and there is nothing to make")
    divided = numbers if label_grades is None else label_grades.divide({g: n for g, n in numbers.items() if n})
    return {grade: number for grade, number in sorted(divided.items()) if number}


def check_served(generator: RetinaGenerator, grades: Mapping[int, int], mode: str) -> None:
    """Raise `ValueError` where the generator has nothing for a grade."""
    generator.check_grades(list(grades))
    missing = sorted(generator.missing_grades & set(grades)) if mode == "sample" else []
    if missing:
        others = " ".join(f"{grade}:{number}" for grade, number in grades.items() if grade not in missing)
        raise ValueError(
            f"counts: {generator.name} has no images of the grades {missing} (none were kept when it was curated); "
            f"leave them out{f' (--counts {others})' if others else ''}, or take another generator"
        )
