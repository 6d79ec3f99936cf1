"""Labels that join grades: shares as in the data, numbers that add up, forms that are refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.data import (
    GRADE_MAPS,
    LabelGrades,
    apply_grade_map,
    check_labels_are_grades,
    count_label_grades,
    icdr_grade,
)
from monai_retina_gen.errors import DatalistError

SHARES = st.dictionaries(st.integers(0, 4), st.integers(0, 40), min_size=1).filter(lambda s: any(s.values()))


@given(SHARES)
@settings(max_examples=40, deadline=None)
def test_draws_over_all_shares_are_the_photographs(shares):
    """Closed form: n equally spaced shares of n photographs give each grade its own number."""
    total = sum(shares.values())
    drawn = Counter(LabelGrades({1: shares}).draw(1, (row + 0.5) / total) for row in range(total))
    assert drawn == {grade: number for grade, number in shares.items() if number}


@given(SHARES, st.integers(0, 4), st.data())
@settings(max_examples=40, deadline=None)
def test_divided_numbers_add_up_and_lie_within_one_of_the_share(shares, least, data):
    parts = [{grade: n for grade, n in shares.items() if (grade < least) == low} for low in (True, False)]
    grades = {label: part for label, part in enumerate(parts) if any(part.values())}
    counts = {label: data.draw(st.integers(0, 50)) for label in grades}
    for label, number in counts.items():
        divided, total = LabelGrades(grades).divide({label: number}), sum(grades[label].values())
        assert sum(divided.values()) == number
        assert all(abs(n - number * grades[label][grade] / total) < 1 for grade, n in divided.items())
    assert sum(LabelGrades(grades).divide(counts).values()) == sum(counts.values())


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.sampled_from(sorted(GRADE_MAPS)))
@settings(max_examples=30, deadline=None)
def test_counted_shares_never_cross_the_map(grades, name):
    items = apply_grade_map([{"image": str(i), "grade": grade} for i, grade in enumerate(grades)], name)
    counted = count_label_grades(items)
    assert sum(n for shares in counted.values() for n in shares.values()) == len(grades)
    labels = LabelGrades({str(label): {str(g): n for g, n in shares.items()} for label, shares in counted.items()})
    for share in np.linspace(0, 1, 7, endpoint=False):
        assert all(GRADE_MAPS[name][labels.draw(label, share)] == label for label in counted)
    assert [icdr_grade(item) for item in items] == grades
    assert [labels.label_of(grade) for grade in grades] == [item["grade"] for item in items]


@pytest.mark.parametrize(
    "grades",
    [
        *[{}, None, [0, 1], {"x": 1}, {0: [0], 1: [2, 3]}, {1: {2.5: 1}}, {1: 2.5}, {1: {}}, {1: None}],
        {0: {0: 4, 1: 2}, 1: {1: 3, 2: 1}},
        *[{1: {2: number}} for number in (0, -1, "many", True, float("nan"))],
    ],
)
def test_other_forms_are_refused_with_the_right_one(grades):
    with pytest.raises(ValueError, match="label_grades"):
        LabelGrades(grades)


def test_labels_that_the_map_lacks_and_items_without_their_grade_are_named():
    with pytest.raises(ValueError, match=r"no label 2; it has \[0, 1\]"):
        LabelGrades({0: 0, 1: 4}).draw(2, 0.5)
    with pytest.raises(DatalistError, match=r"b.png has no 'icdr_grade'"):
        count_label_grades([{"image": "b.png", "grade": 1}])


def test_two_labels_are_not_taken_for_grades():
    for labels in ([0, 1], [1]):
        with pytest.raises(DatalistError, match=r"counts: only the labels .*label_grades="):
            check_labels_are_grades(labels, "counts")
    for labels in ([], [0], [0, 2], [0, 1, 4]):
        check_labels_are_grades(labels, "counts")
