"""What is drawn for an item: shares by label, grades of labels, a constant number of draws."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.data import GRADE_MAPS, apply_grade_map, count_grades, count_label_grades
from monai_retina_gen.transforms.augment.policy import AugmentationPolicy

REFERABLE = {"0": {"0": 6, "1": 2}, "1": {"2": 5, "3": 2, "4": 1}}


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.sampled_from(sorted(GRADE_MAPS)), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_images_for_a_label_have_a_grade_of_it(grades, name, seed):
    items = apply_grade_map([{"image": str(i), "grade": grade} for i, grade in enumerate(grades)], name)
    policy, random = AugmentationPolicy(prob=1.0, label_grades=count_label_grades(items)), np.random.RandomState(seed)
    for item in items:
        assert GRADE_MAPS[name][policy.draw(random, item["grade"]).grade] == item["grade"]
        assert policy.draw(random, item["grade"], item["icdr_grade"]).grade == item["icdr_grade"]
        assert AugmentationPolicy(prob=1.0).draw(random, item["grade"], item["icdr_grade"]).grade == item["icdr_grade"]


def test_grades_of_a_label_come_as_often_as_in_the_data():
    policy, random = AugmentationPolicy(prob=1.0, label_grades=REFERABLE), np.random.RandomState(0)
    drawn = Counter(policy.draw(random, 1).grade for _ in range(4000))
    assert [drawn[grade] / 4000 for grade in (2, 3, 4)] == pytest.approx([5 / 8, 2 / 8, 1 / 8], abs=0.03)


@given(st.floats(0, 1), st.integers(0, 1), st.sampled_from([None, REFERABLE]))
@settings(max_examples=30, deadline=None)
def test_every_item_takes_as_many_draws(prob, label, label_grades):
    random, reference = np.random.RandomState(3), np.random.RandomState(3)
    AugmentationPolicy(prob=prob, label_grades=label_grades).draw(random, label)
    AugmentationPolicy(prob=0.0, mode="reconstruct").draw(reference, 4)
    assert random.randint(2**31) == reference.randint(2**31)


def test_balance_goes_by_labels_and_passes_over_grades_without_photographs():
    items = apply_grade_map(
        [{"image": str(i), "grade": grade} for i, grade in enumerate([0] * 6 + [2, 3, 3])], "binary"
    )
    policy = AugmentationPolicy(prob="balance", counts=count_grades(items))
    assert [policy.probability(label) for label in range(5)] == [0.0, 0.5, 0.0, 0.0, 0.0]


def test_labels_are_not_taken_for_grades():
    policy = AugmentationPolicy(prob="balance", counts={"0": 5, "1": 3, "2": 0})
    random = np.random.RandomState(0)
    with pytest.raises(ValueError, match=r"counts: only the labels \[0, 1\].*label_grades="):
        [policy.draw(random, 1) for _ in range(50)]
    assert {plan.grade for _ in range(50) if (plan := policy.draw(random, 1, 4))} == {4}
    grades = AugmentationPolicy(prob="balance", counts={0: 5, 1: 3}, label_grades={0: 0, 1: 1})
    assert {plan.grade for _ in range(50) if (plan := grades.draw(random, 1))} == {1}


def test_an_eye_that_is_kept_keeps_its_own_grade():
    policy = AugmentationPolicy(prob=1.0, mode="edit", lesion="ex", label_grades=REFERABLE)
    with pytest.raises(ValueError, match=r"mode 'edit' keeps the photograph's own grade.*\(2, 3, 4\).*'icdr_grade'"):
        policy.draw(np.random.RandomState(0), 1)
    assert policy.draw(np.random.RandomState(0), 1, 3).grade == 3
    with pytest.raises(ValueError, match=r"label 1 has the grade 0"):
        policy.draw(np.random.RandomState(0), 1, 0)
    with pytest.raises(ValueError, match=r"no label 2"):
        policy.draw(np.random.RandomState(0), 2)


@pytest.mark.parametrize(
    "options", [{"prob": {2.7: 1.0}}, {"prob": {"x": 1.0}}, {"prob": "balance", "counts": {0: -1}}]
)
def test_keys_and_counts_are_whole_numbers(options):
    with pytest.raises(ValueError, match="whole number"):
        AugmentationPolicy(**options)
