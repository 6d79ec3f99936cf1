"""How many images of which grade `expand` makes: from its arguments or a datalist, and refused before it begins."""

from __future__ import annotations

import argparse
import json
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
from monai_retina_gen.transforms.expansion.counts import balancing_counts

__all__ = ["asked_counts", "parse_label_grades"]


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
