"""Grade maps: the five grades of diabetic retinopathy joined to the labels that a task asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from monai_retina_gen.data.datalist_format import Item, Problems
from monai_retina_gen.data.grade_of import grade_of
from monai_retina_gen.data.label_grades import ICDR_GRADE
from monai_retina_gen.errors import DatalistError

GRADE_MAPS: dict[str, dict[int, int]] = {
    "binary": {0: 0, 1: 1, 2: 1, 3: 1, 4: 1},
    "referable": {0: 0, 1: 0, 2: 1, 3: 1, 4: 1},
}
"""`binary`: any retinopathy; `referable`: moderate non-proliferative or worse (grade 2 and above)."""


def apply_grade_map(
    items: Iterable[Item], grade_map: str | Mapping[Any, int], *, label_key: str = "grade"
) -> list[Item]:
    """Copies of the items with labels in place of their grades, which stay under `ICDR_GRADE`; ungraded ones stay so.

    Args:
        items: items of a datalist.
        grade_map: a name of `GRADE_MAPS`, or `{grade: label}`; keys may be strings, as in JSON.
        label_key: key of the grade, and of the label.

    Raises:
        DatalistError: another map, a grade that it lacks, or items that have labels already.

    Examples:
        >>> apply_grade_map([{"image": "a.png", "grade": 3}, {"image": "b.png"}], "referable")
        [{'image': 'a.png', 'grade': 1, 'icdr_grade': 3}, {'image': 'b.png'}]
    """
    mapping = _resolve(grade_map)
    items = list(items)
    problems = Problems(f"grade_map={grade_map!r}")
    mapped = [_mapped(item, mapping, label_key, problems) if label_key in item else dict(item) for item in items]
    problems.raise_any("Correct the map, or leave the items out.")
    return mapped


def _mapped(item: Item, mapping: Mapping[int, int], label_key: str, problems: Problems) -> Item:
    grade = read_grade(item, label_key, problems)
    if ICDR_GRADE in item:
        problems.add(f"labels in place of grades already ({ICDR_GRADE!r})", item.get("image"))
    elif grade is not None and grade not in mapping:
        problems.add("grade that the map lacks", f"{item.get('image')}: {grade}")
    return {**item, label_key: mapping.get(grade, -1) if grade is not None else -1, ICDR_GRADE: grade}


def read_grade(item: Item, label_key: str, problems: Problems) -> int | None:
    """Grade of an item; one that is none is noted in `problems`."""
    try:
        return grade_of(item[label_key], label_key)
    except ValueError as error:
        problems.add("no grade", f"{item.get('image')}: {error}")
        return None


def _resolve(grade_map: str | Mapping[Any, int]) -> dict[int, int]:
    if isinstance(grade_map, str):
        if grade_map not in GRADE_MAPS:
            raise DatalistError(f"grade_map={grade_map!r}: give one of {sorted(GRADE_MAPS)} or {{grade: label}}.")
        return GRADE_MAPS[grade_map]
    try:
        mapping = {grade_of(old, "grade_map"): new for old, new in grade_map.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DatalistError(f"grade_map={grade_map!r}: {{grade: label}} with integers is wanted.") from error
    if len(mapping) < len(grade_map) or any(type(new) is not int or new < 0 for new in mapping.values()):
        raise DatalistError(f"grade_map={grade_map!r}: each grade once, and labels that are integers from 0.")
    return mapping


def count_grades(items: Iterable[Item], num_classes: int = 5, *, label_key: str = "grade") -> dict[int, int]:
    """Count the items of each grade from 0 to `num_classes - 1`; ungraded items are not counted.

    Args:
        items: items of a datalist.
        num_classes: number of grades, or of labels.
        label_key: key of the grade.

    Raises:
        DatalistError: a value that is no grade (see `grade_of`), or one outside that range; names the items.

    Examples:
        >>> count_grades([{"grade": 0}, {"grade": "2.0"}, {"grade": 2}, {}], num_classes=3)
        {0: 1, 1: 0, 2: 2}
    """
    counts = dict.fromkeys(range(num_classes), 0)
    problems = Problems(f"label_key={label_key!r}, num_classes={num_classes}")
    for item in (item for item in items if label_key in item):
        grade = read_grade(item, label_key, problems)
        if grade in counts:
            counts[grade] += 1
        elif grade is not None:
            problems.add("grade outside the range", f"{item.get('image')}: {grade}")
    problems.raise_any("Correct the grades, or give the right num_classes.")
    return counts
