"""Grades and labels: one reading of them, the labels that join grades ("referable"), and maps from one to the other.

Generators know the grades 0-4. A label 1 that means "grade 2 or worse" is no grade 1: where labels are not grades, an
item says its own grade besides (`ICDR_GRADE`), or a `LabelGrades` says what a label stands for.
"""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from monai_retina_gen.data.datalist_format import GRADES, Item, Problems
from monai_retina_gen.errors import DatalistError

WRITTEN = re.compile(r"[0-9]+(\.0*)?", re.ASCII)  # pandas writes 3 as "3.0" in a column with gaps


def grade_of(value: Any, name: str = "grade") -> int:
    """A grade, or another label, as `int`, from what data sets and loaders hold; `name` is the key, for the message.

    Args:
        value: a whole number of Python or NumPy, a tensor or array with one element, or a text such as `"2.0"`, `" 3"`.
        name: the argument or key, for the message.

    Raises:
        ValueError: for anything else: nothing, a fraction, a negative number, a truth value, a one-hot vector.
    """
    single = value.item() if isinstance(value, (Tensor, np.ndarray)) and math.prod(value.shape) == 1 else value
    number = _number(single)
    if number is None:
        raise ValueError(f"{name}: {_shown(value)} came{_why(single)}")
    return number


def grades_of(values: Iterable[Any], name: str = "grade") -> list[int]:
    """Grades of a batch, a sequence, tensor or array `(B,)` or `(B, 1)`, each read by `grade_of`.

    Raises:
        ValueError: for a value that `grade_of` refuses, such as the rows of one-hot vectors `(B, C)`, or no sequence.
    """
    if isinstance(values, str) or not np.iterable(values):
        raise ValueError(f"{name}: {_shown(values)} came; a sequence with a grade for each image is wanted")
    # a tensor in one transfer, wherever it is
    return [grade_of(value, name) for value in (values.detach().cpu() if isinstance(values, Tensor) else values)]


def _number(value: Any) -> int | None:
    if isinstance(value, str) and WRITTEN.fullmatch(value.strip()):
        return int(value.strip().split(".")[0])
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, (Real, np.number))
        or isinstance(value, np.complexfloating)
    ):
        return None
    whole = np.isfinite(float(value)) and float(value).is_integer() and value >= 0  # type: ignore[operator]
    return int(value) if whole else None  # type: ignore[arg-type]


def _why(value: Any) -> str:
    wanted = "a whole number from 0 is wanted"
    if isinstance(value, (bool, np.bool_)):
        return f"; {wanted}: 0 or 1 for a binary label"
    if isinstance(value, (Tensor, np.ndarray, list, tuple)):
        return f", which is one-hot; {wanted}: its argmax" if _is_one_hot(value) else f"; one {wanted[2:]}"
    if value is None or (isinstance(value, str) and not value.strip()) or value != value:
        return f"; {wanted}; leave out items without a grade"
    return f"; {wanted}"


def _is_one_hot(values: Any) -> bool:
    flat = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=object).ravel().tolist()
    return len(flat) > 1 and all(v in (0, 1) for v in flat) and sum(flat) == 1


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


ICDR_GRADE = "icdr_grade"
"""Key of an item's own grade 0-4, where `grade` is a label that joins several."""
HOW = "label_grades={label: {grade: photographs}} says what labels stand for, such as {0: 0, 1: {2: 120, 3: 40, 4: 30}}"


def icdr_grade(item: Mapping[Any, Any], label_key: str = "grade") -> int:
    """Grade 0-4 of a graded item: its own where its label joins grades."""
    return grade_of(item[ICDR_GRADE], ICDR_GRADE) if ICDR_GRADE in item else grade_of(item[label_key], label_key)


def count_label_grades(items: Iterable[Item], label_key: str = "grade") -> dict[int, dict[int, int]]:
    """Photographs of each grade under each label: the argument `label_grades` for a data set and those like it.

    Args:
        items: graded items with `ICDR_GRADE`, as `load_datalist(grade_map=...)` gives them; ungraded ones do not count.
        label_key: key of the label.

    Raises:
        DatalistError: if a labelled item does not say its own grade.

    Examples:
        >>> own_grades = {0: 0, 2: 1, 3: 1}
        >>> count_label_grades([{"grade": label, "icdr_grade": own} for own, label in own_grades.items()])
        {0: {0: 1}, 1: {2: 1, 3: 1}}
    """
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for item in (item for item in items if label_key in item):
        if ICDR_GRADE not in item:
            raise DatalistError(f"{item.get('image')} has no {ICDR_GRADE!r}; load_datalist(grade_map=...) keeps it")
        counts[grade_of(item[label_key], label_key)][icdr_grade(item)] += 1
    return {label: dict(sorted(found.items())) for label, found in sorted(counts.items())}


def check_labels_are_grades(labels: Iterable[int], what: str) -> None:
    """Raise `DatalistError` for the labels 0 and 1 alone: a binary task's labels rather than grades 0 and 1."""
    present = set(labels)
    if present and 1 in present and present <= {0, 1}:
        raise DatalistError(
            f"{what}: only the labels {sorted(present)} occur, which look like a binary task's. {HOW}; "
            "{0: 0, 1: 1} if they are grades"
        )


class LabelGrades:
    """The grades that labels stand for, each as often as in the data: `{label: {grade: photographs}}`.

    A label of one grade may have that alone. Keys may be strings, as in JSON. `count_label_grades` counts them.

    Raises:
        ValueError: for another form, a grade that is none, a label without photographs, or a grade under two labels.
    """

    def __init__(self, grades: Mapping[Any, Any]) -> None:
        if not isinstance(grades, Mapping) or not grades:
            raise ValueError(f"label_grades: {grades!r} came. {HOW}")
        self._shares = {grade_of(label, "label_grades"): _shares(label, each) for label, each in grades.items()}
        self._labels = {grade: label for label, shares in self._shares.items() for grade in shares}
        if len(self._labels) < sum(map(len, self._shares.values())):
            raise ValueError(f"label_grades: {grades!r} came, and a grade stands under two labels")

    @property
    def labels(self) -> tuple[int, ...]:
        return tuple(self._shares)

    def of(self, label: int) -> tuple[int, ...]:
        """Grades of a label; `ValueError` for a label that the map lacks."""
        if label not in self._shares:
            raise ValueError(f"label_grades has no label {label}; it has {sorted(self._shares)}")
        return tuple(self._shares[label])

    def label_of(self, grade: int) -> int:
        """The label of a grade; `ValueError` for a grade that the map lacks."""
        if grade not in self._labels:
            raise ValueError(f"label_grades has no grade {grade}; it has {sorted(self._labels)}")
        return self._labels[grade]

    def draw(self, label: int, share: float) -> int:
        """The grade of a label at a `share` in [0, 1) of its photographs."""
        grades = self.of(label)
        ends = list(itertools.accumulate(self._shares[label].values()))
        return grades[bisect.bisect_right(ends[:-1], share * ends[-1])]

    def divide(self, counts: Mapping[int, int]) -> dict[int, int]:
        """Numbers by label as numbers by grade; what rounding leaves goes to the largest remainders."""
        divided: Counter[int] = Counter()
        for label, number in counts.items():
            grades, total = self.of(label), sum(self._shares[label].values())
            exact = {grade: number * self._shares[label][grade] / total for grade in grades}
            divided.update({grade: int(value) for grade, value in exact.items()})
            left = number - sum(int(value) for value in exact.values())
            remainders = {grade: int(value) - value for grade, value in exact.items()}
            divided.update(sorted(grades, key=remainders.__getitem__)[:left])
        return dict(sorted(divided.items()))


def _shares(label: Any, grades: Any) -> dict[int, float]:
    found = grades if isinstance(grades, Mapping) else {grades: 1.0} if not isinstance(grades, (list, tuple)) else {}
    shares = {grade_of(grade, f"label_grades[{label!r}]"): number for grade, number in found.items()}
    numbers = [
        n for n in shares.values() if isinstance(n, Real) and not isinstance(n, bool) and 0 <= float(n) < math.inf
    ]
    if len(numbers) < len(grades if isinstance(grades, Mapping) else [grades]) or not sum(numbers):
        raise ValueError(f"label_grades[{label!r}]: {grades!r} came; one grade, or photographs by grade. {HOW}")
    return {grade: number for grade, number in shares.items() if number}


GRADE_MAPS: dict[str, dict[int, int]] = {
    "binary": {0: 0, 1: 1, 2: 1, 3: 1, 4: 1},
    "referable": {0: 0, 1: 0, 2: 1, 3: 1, 4: 1},
}
"""`binary`: any retinopathy; `referable`: moderate non-proliferative or worse (grade 2 and above)."""


def apply_grade_map(
    items: Iterable[Item], grade_map: str | Mapping[Any, int], *, label_key: str = "grade"
) -> list[Item]:
    """Copies of the items with labels in place of their grades, which stay under `ICDR_GRADE`; ungraded ones stay so.

    `grade_map` is a name of `GRADE_MAPS`, or `{grade: label}`; keys may be strings, as in JSON. `DatalistError` for
    another map, a grade that it lacks, or items that have labels already.
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


def parse_grade(text: str, name: str, problems: Problems) -> int | None:
    """Grade 0-4 from a table's cell; a cell that is none is noted in `problems` under `name`."""
    try:
        grade = grade_of(text)
    except ValueError:
        grade = -1
    if grade in GRADES:
        return grade
    problems.add("grade is not one of 0, 1, 2, 3, 4", f"{name}: {text!r}")
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

    Raises:
        DatalistError: a value that is no grade, or one outside that range; names the items.

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
