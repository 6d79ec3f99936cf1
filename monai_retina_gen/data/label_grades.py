"""Labels that join grades, such as "referable": which grades each stands for, so that it is given images of these.

Generators know the grades 0-4. A label 1 that means "grade 2 or worse" is no grade 1: where labels are not grades, an
item says its own grade besides (`ICDR_GRADE`), or a `LabelGrades` says what a label stands for.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from monai_retina_gen.data.datalist_format import Item
from monai_retina_gen.data.grade_of import grade_of
from monai_retina_gen.errors import DatalistError

ICDR_GRADE = "icdr_grade"
"""Key of an item's own grade 0-4, where `grade` is a label that joins several."""
HOW = "label_grades={label: {grade: photographs}} says what labels stand for, such as {0: 0, 1: {2: 120, 3: 40, 4: 30}}"


def icdr_grade(item: Mapping[Any, Any], label_key: str = "grade") -> int:
    """Grade 0-4 of a graded item: its own where its label joins grades.

    Examples:
        >>> icdr_grade({"grade": 3}), icdr_grade({"grade": 1, "icdr_grade": 3})
        (3, 3)
    """
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
    """Raise `DatalistError` for the labels 0 and 1 alone: a binary task's labels rather than grades 0 and 1.

    Args:
        labels: the labels that occur.
        what: where they come from, for the message.

    Examples:
        >>> check_labels_are_grades([0, 1, 2, 3], "counts")
    """
    present = set(labels)
    if present and 1 in present and present <= {0, 1}:
        raise DatalistError(
            f"{what}: only the labels {sorted(present)} occur, which look like a binary task's. {HOW}; "
            "{0: 0, 1: 1} if they are grades"
        )


class LabelGrades:
    """The grades that labels stand for, each as often as in the data.

    Args:
        grades: `{label: {grade: photographs}}`; a label of one grade may have that alone. Keys may be strings, as in
            JSON. `count_label_grades` counts them.

    Raises:
        ValueError: for another form, a grade that is none, a label without photographs, or a grade under two labels.

    Examples:
        >>> referable = LabelGrades({0: 0, 1: {2: 30, 3: 10}})
        >>> [referable.draw(1, share) for share in (0.0, 0.7, 0.8)], referable.draw(0, 0.5)
        ([2, 2, 3], 0)
        >>> referable.divide({0: 5, 1: 10})
        {0: 5, 2: 8, 3: 2}
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
        """The labels."""
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
