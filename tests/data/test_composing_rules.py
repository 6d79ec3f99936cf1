"""What composed lesions keep to: limits of their grade, places that stay free, the 4 of the 4-2-1 rule, shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.data import LESION_MASKS, EyeGeometry, LesionBank, MaskComposer, phantom_fundus
from monai_retina_gen.data.eye_geometry import inner_field
from monai_retina_gen.data.lesion_choice import HAEMORRHAGE, below_the_4, lesion_limits, needed_first, within_limits
from monai_retina_gen.data.lesion_placement import Placed, soft_edges
from monai_retina_gen.data.lesion_rules import count_lesions, meets_the_4, pieces_by_quadrant
from monai_retina_gen.errors import DatalistError

SIZE = 128
KINDS = st.lists(st.integers(0, 3), max_size=60)
FOUR = st.lists(st.integers(0, 40), min_size=4, max_size=4).map(np.array)


def eye(seed: int, size: int = SIZE) -> dict[str, torch.Tensor]:
    return phantom_fundus(1000 + seed, grade=0, size=size).masks


def geometry(masks: dict[str, Any]) -> EyeGeometry:
    return EyeGeometry.from_masks(masks["fov"][0].numpy(), masks["od"][0].numpy())


def dots(masks: dict[str, Any], per_quadrant: list[int]) -> torch.Tensor:
    """So many single pixels in each quadrant of an eye, three apart."""
    mask, where = torch.zeros_like(masks["fov"]), geometry(masks)
    y, x = np.nonzero(inner_field(masks["fov"][0].numpy() >= 0.5, 8) & (masks["od"][0].numpy() < 0.5))
    fits = (x % 3 == 0) & (y % 3 == 0)
    points = np.stack([x[fits], y[fits]], 1)
    there = where.quadrants(points + 0.5)
    for quadrant, number in enumerate(per_quadrant):
        chosen = points[there == quadrant][:number]
        mask[0, chosen[:, 1], chosen[:, 0]] = 1
    return mask


@settings(max_examples=40, deadline=None)
@given(kinds=KINDS, own=FOUR, data=st.data())
def test_haemorrhages_are_added_until_one_quadrant_has_nineteen(kinds: list[int], own: Any, data: Any) -> None:
    kind = np.array(kinds * 3, np.int64)
    quadrant = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(kind), max_size=len(kind))), np.int64)
    keep = below_the_4(kind, quadrant, own)
    added = np.bincount(quadrant[keep & (kind == HAEMORRHAGE)], minlength=4)
    asked = np.bincount(quadrant[kind == HAEMORRHAGE], minlength=4)
    assert keep[kind != HAEMORRHAGE].all()
    assert meets_the_4(own + added) == meets_the_4(own)
    if not meets_the_4(own + asked):
        assert keep.all()
    elif not meets_the_4(own):
        assert (own + added).min() == 19  # no haemorrhage more than the rule takes is left out


@settings(max_examples=40, deadline=None)
@given(kinds=KINDS, grade=st.integers(1, 4), own=FOUR, data=st.data())
def test_what_a_grade_needs_comes_first(kinds: list[int], grade: int, own: Any, data: Any) -> None:
    kind = np.array(kinds, np.int64)
    quadrant = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(kind), max_size=len(kind))), np.int64)
    order, needed = needed_first(grade, kind, quadrant, {"he": own // 30})
    assert sorted(order.tolist()) == list(range(len(kind)))
    assert needed <= {2: 1, 3: 5}.get(grade, 0)
    rest = order[needed:].tolist()
    assert rest == sorted(rest)


@settings(max_examples=40, deadline=None)
@given(kinds=KINDS, room=st.lists(st.integers(0, 30), min_size=6, max_size=6), data=st.data())
def test_limits_hold_and_longer_lists_keep_what_shorter_ones_keep(kinds: list[int], room: list[int], data: Any) -> None:
    kind = np.array(kinds, np.int64)
    area = np.array(data.draw(st.lists(st.integers(1, 9), min_size=len(kind), max_size=len(kind))), np.int64)
    count, pixels = np.array(room), 4 * np.array(room)
    keep = within_limits(kind, area, count=count, pixels=pixels)
    assert (np.bincount(kind[keep], minlength=6) <= count).all()
    assert (np.bincount(kind[keep], area[keep], minlength=6) <= pixels).all()
    half = len(kind) // 2
    assert (within_limits(kind[:half], area[:half], count=count, pixels=pixels) == keep[:half]).all()


@settings(max_examples=15, deadline=None)
@given(
    grade=st.integers(1, 4), seed=st.integers(0, 2**32 - 1), anatomy=st.integers(0, 5), size=st.sampled_from([96, 160])
)
def test_rim_disc_and_fovea_stay_free(phantom_bank: LesionBank, grade: int, seed: int, anatomy: int, size: int) -> None:
    masks = eye(anatomy, size)
    made, where = MaskComposer(phantom_bank).compose(masks, grade, seed=seed), geometry(masks)
    shown = torch.cat([mask for name, mask in made.masks.items() if name != "membrane"]).amax(0).numpy() > 0
    assert not shown[masks["od"][0].numpy() >= 0.5].any()
    y, x = np.nonzero(shown)
    from_middle = np.hypot(x + 0.5 - where.centre[0], y + 0.5 - where.centre[1])
    assert (from_middle <= 0.95 * where.radius + 1.5).all()
    if grade <= 2:
        from_fovea = np.hypot(x + 0.5 - where.fovea[0], y + 0.5 - where.fovea[1])
        assert (from_fovea >= 0.15 * where.radius - 2).all()


@settings(max_examples=15, deadline=None)
@given(
    grade=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted),
)
def test_more_strength_adds_and_none_adds_nothing(
    phantom_bank: LesionBank, grade: int, seed: int, shares: list[float]
) -> None:
    composer, masks = MaskComposer(phantom_bank), eye(seed % 4, 96)
    less, more, full = (composer.compose(masks, grade, seed=seed, strength=s) for s in (*shares, 1.0))
    nothing = composer.compose(masks, grade, seed=seed, strength=0.0)
    assert not nothing.counts.any()
    assert not any(mask.any() for mask in nothing.masks.values())
    assert (less.counts <= more.counts).all()
    covered = [torch.cat(list(made.masks.values())).amax(0) for made in (less, more)]
    assert ((covered[0] >= 0.5) <= (covered[1] >= 0.25)).all()  # soft edges of two kinds may meet
    placed, whole = more.counts.sum(), full.counts.sum()
    assert shares[1] * whole - 1e-6 <= placed + 2  # a piece may find no room
    assert placed <= max(np.ceil(shares[1] * whole) + 2, 5)


@settings(max_examples=8, deadline=None)
@given(own=st.lists(st.integers(0, 24), min_size=4, max_size=4), seed=st.integers(0, 1000))
def test_grade_2_is_never_made_severe(phantom_bank: LesionBank, own: list[int], seed: int) -> None:
    masks = eye(seed % 3, 256)
    have = dots(masks, own)
    before = count_lesions({**masks, "he": have})["he"]
    assert before.tolist() == own
    greedy = MaskComposer(phantom_bank)
    object.__setattr__(greedy, "_wanted", lambda *_: _many())  # far more than any eye of grade 2 has
    for limits in (greedy.limits.count, greedy.limits.area, greedy.limits.total_count, greedy.limits.total_area):
        limits[2] = np.inf
    made = greedy.compose(masks, 2, seed=seed, own={"he": have}).masks["he"]
    after = count_lesions({**masks, "he": torch.maximum(have, made)})["he"]
    assert meets_the_4(after) == meets_the_4(before)
    assert not (made * have).any()


def _many() -> Any:
    wanted = np.zeros((len(LESION_MASKS), 4), np.int64)
    wanted[HAEMORRHAGE] = 30
    return wanted


def test_grade_3_can_be_made_severe(phantom_bank: LesionBank) -> None:
    masks = eye(0, 512)
    made = MaskComposer(phantom_bank, haemorrhages_per_quadrant=30).compose(masks, 3, seed=1)
    assert meets_the_4(count_lesions({**masks, "he": made.masks["he"]})["he"])


def test_limits_are_those_of_the_eyes(phantom_bank: LesionBank) -> None:
    """Against a plain count over the bank, and kept by what is composed."""
    limits, composer = lesion_limits(phantom_bank), MaskComposer(phantom_bank)
    for grade in (2, 3):
        for name in ("ma", "he", "ex"):
            kind = LESION_MASKS.index(name)
            each = [
                phantom_bank.area[(phantom_bank.eye == row) & (phantom_bank.kind == kind)]
                for row in np.flatnonzero(phantom_bank.grade == grade)
            ]
            numbers = sorted(len(areas) for areas in each if len(areas))
            assert limits.count[grade, kind] in numbers[-2:]
            assert limits.piece[grade, kind] >= np.quantile(np.concatenate(each), 0.985)
        for seed in range(12):
            made = composer.compose(eye(seed % 3), grade, seed=seed)
            assert (made.counts.sum(1) <= limits.count[grade]).all()
    assert not limits.count[0].any()
    assert (limits.count[1] > 0).tolist() == [name == "ma" for name in LESION_MASKS]


def test_an_eye_that_has_its_number_gets_no_more(phantom_bank: LesionBank) -> None:
    composer, masks = MaskComposer(phantom_bank), eye(1, 256)
    full = {"he": dots(masks, [5, 5, 5, 5]), "ex": dots(masks, [200, 200, 200, 200])}
    made = composer.compose(masks, 2, seed=3, own=full)
    assert not made.counts[LESION_MASKS.index("ex")].any()


def test_some_lesions_alone(phantom_bank: LesionBank) -> None:
    composer = MaskComposer(phantom_bank)
    for seed in range(5):
        made = composer.compose(eye(seed), 3, seed=seed, lesions=["ex"])
        assert made.counts.sum() == made.counts[LESION_MASKS.index("ex")].sum() > 0
    with pytest.raises(DatalistError, match="no eye of grade 1 with ex"):
        composer.compose(eye(0), 1, seed=0, lesions=["ex"])
    with pytest.raises(ValueError, match="drusen"):
        composer.compose(eye(0), 1, seed=0, lesions=["drusen"])
    with pytest.raises(ValueError, match="strength"):
        composer.compose(eye(0), 1, seed=0, strength=1.5)


@pytest.mark.parametrize("size", [64, 101])
def test_quadrants_are_counted_in_mirrored_eyes_as_well(size: int) -> None:
    field, disc, mask = (np.zeros((size, size)) for _ in range(3))
    field[:], disc[size // 2 - 4 : size // 2 + 4, 4:12] = 1, 1
    mask[3, size - 5] = mask[size - 5, size - 6 : size - 3] = mask[size - 5, 5] = mask[size - 9, 9] = 1
    eyes = [EyeGeometry.from_masks(field, d) for d in (disc, disc[:, ::-1])]
    for where, plane in zip(eyes, (mask, mask[:, ::-1]), strict=True):
        assert pieces_by_quadrant(plane, where).tolist() == [1, 0, 1, 2]


def test_large_pieces_fade_and_small_ones_stay() -> None:
    y, x = np.mgrid[-20:21, -20:21]
    round_, dot = (np.stack([x[m], y[m]], 1) for m in (x**2 + y**2 <= 18**2, x**2 + y**2 <= 1))
    planes = np.zeros((len(LESION_MASKS), 96, 96), bool)
    middle = np.array([[40, 40], [80, 80]])
    for (left, top), offsets in zip(middle, (round_, dot), strict=True):
        planes[1, top + offsets[:, 1], left + offsets[:, 0]] = True
    owner = np.repeat([0, 1], [len(round_), len(dot)])
    placed = Placed(np.array([1, 1]), np.array([0, 0]), middle, np.concatenate([round_, dot]), owner)
    soft = soft_edges(planes, placed)
    assert (soft[1, 70:, 70:] == planes[1, 70:, 70:]).all()
    assert soft[1, 40, 40] == pytest.approx(1, abs=1e-4)
    assert 0.1 < soft[1, 40, 40 + 19] < 0.5 < soft[1, 40, 40 + 17] < 0.9
    assert ((soft[1] >= 0.5) != planes[1]).mean() < 0.01
    assert soft.sum() == pytest.approx(planes.sum(), rel=0.01)
