"""How many images of which grade `expand` makes: from its arguments or a datalist, and refused before it begins."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from monai_retina_gen.data import (
    ICDR_GRADE,
    LabelGrades,
    check_labels_are_grades,
    count_grades,
    count_label_grades,
    grade_of,
    load_datalist,
)
from monai_retina_gen.generators import RetinaGenerator

__all__ = ["asked_counts", "balancing_counts", "check_served", "images_by_grade", "parse_label_grades"]


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


def asked_counts(args: argparse.Namespace, generator: RetinaGenerator) -> tuple[dict[int, int], dict[Any, Any] | None]:
    """Counts by grade or label that the command line asks for, and what the labels stand for.

    Raises:
        ValueError: options that do not go together, or labels that look like a binary task's without `--label-grades`.
    """
    label_grades = parse_label_grades(args.label_grades) if args.label_grades else None
    if args.counts:
        return _pairs(args.counts), label_grades
    if args.per_grade is not None:
        grades = sorted(set(range(generator.num_classes)) - generator.missing_grades)
        return dict.fromkeys(label_grades or grades, args.per_grade), label_grades
    if not args.datalist:
        raise ValueError("--balance needs --datalist: the grades that are to be balanced")
    items = load_datalist(
        args.datalist, args.dataset_dir, require_grade=True, label_key=args.label_key, grade_map=args.grade_map
    )["training"]
    if label_grades is None and any(ICDR_GRADE in item for item in items):
        label_grades = count_label_grades(items, args.label_key)
    classes = generator.num_classes if label_grades is None else 5
    counts = count_grades(items, num_classes=classes, label_key=args.label_key)
    if label_grades is None:
        check_labels_are_grades([grade for grade, number in counts.items() if number], f"--datalist {args.datalist}")
    needed = balancing_counts(counts)
    if not any(needed.values()):
        raise ValueError(f"--balance: the training photographs, by grade {counts}, leave nothing to fill up")
    return needed, label_grades


def _pairs(text: str) -> dict[int, int]:
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return {grade_of(grade, "--counts"): int(number) for grade, number in pairs}
    except ValueError:
        raise ValueError(f"--counts {text!r}: want GRADE:NUMBER pairs such as 2:100,3:200") from None


def parse_label_grades(text: str) -> dict[Any, Any]:
    """What `--label-grades` says, checked; `ValueError` for anything but JSON that `LabelGrades` takes."""
    try:
        found: dict[Any, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f'--label-grades {text!r}: want JSON such as \'{{"1": {{"2": 120, "3": 40}}}}\'; {error}'
        ) from None
    LabelGrades(found)
    return found
