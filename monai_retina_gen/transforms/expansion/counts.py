"""Counts of images by grade: from a datalist, and refused before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_retina_gen.data import (
    LabelGrades,
    grade_of,
)
from monai_retina_gen.generators import RetinaGenerator

__all__ = ["balancing_counts", "check_served", "images_by_grade"]


def balancing_counts(counts: Mapping[int, int]) -> dict[int, int]:
    """Images that each grade needs to reach the largest grade's count; a grade that the data lack stays without.

    Examples:
        >>> balancing_counts({0: 10, 1: 3, 2: 0})
        {0: 0, 1: 7, 2: 0}
    """
    most = max(counts.values())
    return {grade: most - number if number else 0 for grade, number in counts.items()}


def images_by_grade(counts: Mapping[Any, int], label_grades: LabelGrades | None = None) -> dict[int, int]:
    """Images to make of each grade, for counts by grade, or by label with `label_grades`.

    Raises:
        ValueError: a grade or number that is none, or nothing to make.

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
        others = ",".join(f"{grade}:{number}" for grade, number in grades.items() if grade not in missing)
        raise ValueError(
            f"counts: {generator.name} has no images of the grades {missing} (none were kept when it was curated); "
            f"leave them out{f' (--counts {others})' if others else ''}, or take another generator"
        )
