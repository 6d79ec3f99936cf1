"""Grade maps: the five grades of diabetic retinopathy joined to the labels that a task asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from monai_retina_gen.data.datalist_format import Item
from monai_retina_gen.data.problems import Problems
from monai_retina_gen.errors import DatalistError

__all__ = ["GRADE_MAPS", "apply_grade_map", "count_grades"]

GRADE_MAPS: dict[str, dict[int, int]] = {
    "binary": {0: 0, 1: 1, 2: 1, 3: 1, 4: 1},
    "referable": {0: 0, 1: 0, 2: 1, 3: 1, 4: 1},
}
"""`binary`: any retinopathy; `referable`: moderate non-proliferative or worse (grade 2 and above)."""


def apply_grade_map(items: Iterable[Item], grade_map: str | Mapping[Any, int]) -> list[Item]:
    """Return copies of the items with their grades replaced; ungraded items stay ungraded.

    Args:
        items: items of a datalist.
        grade_map: a name of `GRADE_MAPS`, or `{grade: new grade}`; keys may be strings, as in JSON.

    Raises:
        DatalistError: an unknown name, a map that is not from integers to integers, or a grade that it lacks.

    Examples:
        >>> apply_grade_map([{"image": "a.png", "grade": 3}, {"image": "b.png"}], "referable")
        [{'image': 'a.png', 'grade': 1}, {'image': 'b.png'}]
    """
    mapping = _resolve(grade_map)
    items = list(items)
    problems = Problems(f"grade_map={grade_map!r}")
    for item in items:
        if "grade" in item and item["grade"] not in mapping:
            problems.add("grade that the map lacks", f"{item.get('image')}: {item['grade']!r}")
    problems.raise_any("Add these grades to the map, or leave the items out.")
    return [{**item, "grade": mapping[item["grade"]]} if "grade" in item else dict(item) for item in items]


def _resolve(grade_map: str | Mapping[Any, int]) -> dict[int, int]:
    if isinstance(grade_map, str):
        if grade_map not in GRADE_MAPS:
            raise DatalistError(f"grade_map={grade_map!r}: give one of {sorted(GRADE_MAPS)} or {{grade: new grade}}.")
        return GRADE_MAPS[grade_map]
    try:
        mapping = {int(old): new for old, new in grade_map.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DatalistError(f"grade_map={grade_map!r}: {{grade: new grade}} with integers is wanted.") from error
    if len(mapping) < len(grade_map) or any(type(new) is not int or new < 0 for new in mapping.values()):
        raise DatalistError(f"grade_map={grade_map!r}: each grade once, and new grades that are integers from 0.")
    return mapping


def count_grades(items: Iterable[Item], num_classes: int = 5) -> dict[int, int]:
    """Count the items of each grade from 0 to `num_classes - 1`; ungraded items are not counted.

    Raises:
        DatalistError: a grade outside that range; names the items.

    Examples:
        >>> count_grades([{"grade": 0}, {"grade": 2}, {"grade": 2}, {}], num_classes=3)
        {0: 1, 1: 0, 2: 2}
    """
    counts = dict.fromkeys(range(num_classes), 0)
    problems = Problems(f"num_classes={num_classes}")
    for item in (item for item in items if "grade" in item):
        if item["grade"] in counts:
            counts[item["grade"]] += 1
        else:
            problems.add("grade outside the range", f"{item.get('image')}: {item['grade']!r}")
    problems.raise_any("Correct the grades, or give the right num_classes.")
    return counts
