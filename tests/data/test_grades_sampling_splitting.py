"""Grade maps, counts, balanced sampling and splits by group, against closed forms and by property."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.data import (
    GRADE_MAPS,
    ICDR_GRADE,
    SECTIONS,
    apply_grade_map,
    balance_probabilities,
    balanced_sampler,
    count_grades,
    split_by_group,
)
from monai_retina_gen.errors import DatalistError


def graded(*grades: int) -> list[dict]:
    return [{"image": f"{i}.png", "grade": grade, "group": f"eye{i}"} for i, grade in enumerate(grades)]


def test_grade_maps_follow_the_scale():
    for grade in range(5):
        assert GRADE_MAPS["binary"][grade] == int(grade > 0)
        assert GRADE_MAPS["referable"][grade] == int(grade > 1)


def test_apply_grade_map_accepts_json_keys_and_changes_copies():
    items = [*graded(0, 4), {"image": "ungraded.png"}]
    mapped = apply_grade_map(items, {"0": 1, "4": 0})
    assert [item.get("grade") for item in mapped] == [1, 0, None]
    assert [item.get(ICDR_GRADE) for item in mapped] == [0, 4, None]
    assert [item.get("grade") for item in items] == [0, 4, None]


@pytest.mark.parametrize(
    ("grade_map", "message"),
    [
        ("refferable", "'binary', 'referable'"),
        ({0: 0}, "1.png: 3"),
        ({"x": 0}, "integers"),
        ({0: 0.5, 3: 1}, "integers"),
        ({0: 0, "0": 1, 3: 1}, "each grade once"),
        (3, "grade_map=3"),
    ],
)
def test_apply_grade_map_names_what_is_wrong(grade_map, message):
    with pytest.raises(DatalistError, match=message):
        apply_grade_map(graded(0, 3), grade_map)


@given(st.lists(st.integers(0, 4), max_size=30))
@settings(max_examples=20, deadline=None)
def test_count_grades_equals_counter(grades):
    assert count_grades(graded(*grades)) == {grade: Counter(grades)[grade] for grade in range(5)}


def test_counts_and_sampler_read_any_key_and_form():
    items = [{"level": level} for level in ("0", 0.0, np.int64(0), torch.tensor([3]))]
    assert count_grades(items, label_key="level") == {0: 3, 1: 0, 2: 0, 3: 1, 4: 0}
    assert balanced_sampler(items, label_key="level").weights.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_count_grades_names_grades_outside():
    with pytest.raises(DatalistError, match=r"num_classes=2.*1 \(1.png: 2\)"):
        count_grades(graded(1, 2), num_classes=2)


@given(st.dictionaries(st.integers(0, 4), st.integers(0, 60), min_size=1).filter(lambda counts: any(counts.values())))
@settings(max_examples=30, deadline=None)
def test_real_showings_are_equal_over_photographs(counts):
    """Closed form: draws / (grades * n_g) * (1 - p_g) is draws / (grades present * max n) for every photograph."""
    items = graded(*(grade for grade, count in counts.items() for _ in range(count)))
    sampler = balanced_sampler(items)
    drawn = sampler.weights / sampler.weights.sum() * len(items)
    synthetic = balance_probabilities(counts)
    real = drawn * torch.tensor([1 - synthetic[item["grade"]] for item in items], dtype=drawn.dtype)
    expected = len(items) / (sum(count > 0 for count in counts.values()) * max(counts.values()))
    torch.testing.assert_close(real, torch.full_like(real, expected))


def test_real_showings_are_equal_in_simulation():
    items = graded(*[0] * 40, *[2] * 20, *[4] * 5)
    synthetic = balance_probabilities({grade: n for grade, n in count_grades(items).items() if n})
    draws = torch.tensor(list(balanced_sampler(items, num_samples=120_000)))
    grades = torch.tensor([item["grade"] for item in items])
    per_grade = torch.bincount(grades[draws], minlength=5)[[0, 2, 4]]
    torch.testing.assert_close(per_grade / 120_000, torch.full((3,), 1 / 3), atol=0.01, rtol=0)
    chance = torch.tensor([1 - synthetic[int(grade)] for grade in grades])[draws]
    kept = torch.rand(len(draws), generator=torch.Generator().manual_seed(1)) < chance
    shown = torch.bincount(draws[kept], minlength=len(items)).double()
    # 120 000 / (3 grades * 40) = 1000 real showings each, standard deviation about 32
    assert shown.mean().item() == pytest.approx(1000, rel=0.02)
    assert (shown - 1000).abs().max() < 5 * 32


def test_balanced_sampler_repeats_with_its_seed_and_differs_between_epochs():
    items = graded(0, 0, 0, 1, 1, 2)
    first = balanced_sampler(items, num_samples=50, seed=3)
    epochs = [list(first), list(first)]
    torch.manual_seed(0)
    again = balanced_sampler(items, num_samples=50, seed=3)
    assert [list(again), list(again)] == epochs
    assert epochs[0] != epochs[1]
    assert list(balanced_sampler(items, num_samples=50, seed=4)) != epochs[0]


def test_balanced_sampler_takes_another_label():
    items = [{"dme": 0}, {"dme": 0}, {"dme": 2}]
    assert balanced_sampler(items, label_key="dme").weights.tolist() == [0.25, 0.25, 0.5]


def test_sampling_errors():
    with pytest.raises(DatalistError, match=r"no label_key 'grade': 1 \(b.png\)"):
        balanced_sampler([*graded(1), {"image": "b.png"}])
    with pytest.raises(DatalistError, match="items is empty"):
        balanced_sampler([])
    with pytest.raises(DatalistError, match=r"0.png: grade: 2.7 came"):
        balanced_sampler(graded(2.7, 1))
    for counts in ({}, {0: 0, 1: 0}):
        with pytest.raises(DatalistError, match="no photographs"):
            balance_probabilities(counts)
    for counts in ({0: 3, 1: -1}, {0: 3, 1: 2.5}, {"0.5": 3}, [3, 1]):
        with pytest.raises(DatalistError, match="number of photographs"):
            balance_probabilities(counts)


def patients() -> st.SearchStrategy[list[dict]]:
    """One or two eyes per patient."""
    eyes = st.lists(st.integers(0, 4), min_size=1, max_size=2)
    return st.lists(eyes, max_size=40).map(
        lambda people: [
            {"image": f"{p}_{e}.png", "group": f"p{p}", "grade": grade}
            for p, grades in enumerate(people)
            for e, grade in enumerate(grades)
        ]
    )


@given(patients(), st.integers(0, 9), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_split_is_a_partition_by_group_and_does_not_depend_on_order(items, seed, random):
    sections = split_by_group(items, seed=seed)
    assert sorted(item["image"] for part in sections.values() for item in part) == sorted(i["image"] for i in items)
    groups = [{item["group"] for item in sections[section]} for section in SECTIONS]
    assert sum(map(len, groups)) == len(set.union(*groups))
    shuffled = random.sample(items, len(items))
    assert {s: {i["image"] for i in part} for s, part in split_by_group(shuffled, seed=seed).items()} == {
        s: {i["image"] for i in part} for s, part in sections.items()
    }


@given(st.lists(st.integers(0, 4), max_size=80), st.sampled_from([(0.7, 0.1, 0.2), (0.8, 0.2, 0), (1 / 3,) * 3]))
@settings(max_examples=30, deadline=None)
def test_grade_proportions_are_kept(grades, fractions):
    """With one photograph per group every grade, and every section as a whole, is within two of its share."""
    sections = split_by_group(graded(*grades), fractions)
    for section, share in zip(SECTIONS, fractions, strict=True):
        counts = Counter(item["grade"] for item in sections[section])
        for grade, total in Counter(grades).items():
            assert abs(counts[grade] - share * total) < 2
        assert abs(len(sections[section]) - share * len(grades)) < 2


def test_grade_proportions_are_kept_for_patients_with_two_eyes():
    draw = torch.Generator().manual_seed(0)
    first = torch.multinomial(torch.tensor([0.73, 0.07, 0.15, 0.03, 0.02]), 3000, True, generator=draw)
    other = torch.where(torch.rand(3000, generator=draw) < 0.8, first, torch.randint(5, (3000,), generator=draw))
    items = [{"group": str(p), "grade": int(g)} for p, pair in enumerate(zip(first, other, strict=True)) for g in pair]
    totals = count_grades(items)
    for (section, part), share in zip(split_by_group(items).items(), (0.7, 0.1, 0.2), strict=True):
        for grade, count in count_grades(part).items():
            assert abs(count - share * totals[grade]) <= 5, (section, grade)  # two and a half patients


def test_seeds_differ_and_stratify_takes_another_key():
    items = [{"group": str(i), "dme": i % 2} for i in range(100)]
    parts = [split_by_group(items, seed=seed, stratify="dme") for seed in (0, 1)]
    assert parts[0] != parts[1]
    assert [sum(item["dme"] for item in part) for part in parts[0].values()] == [35, 5, 10]
    assert [len(part) for part in split_by_group(items, stratify=None).values()] == [70, 10, 20]


@pytest.mark.parametrize("fractions", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.2, -0.2, 0), ("a", 0.5, 0.5)])
def test_split_refuses_fractions(fractions):
    with pytest.raises(DatalistError, match="fractions="):
        split_by_group(graded(0, 1), fractions)


def test_split_names_items_without_group():
    with pytest.raises(DatalistError, match=r"no key 'group': 1 \(a.png\)"):
        split_by_group([{"image": "a.png"}])
