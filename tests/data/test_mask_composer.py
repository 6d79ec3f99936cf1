"""The mask composer: statistics against the bank's, rules, where lesions lie, seeds, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from monai_retina_gen.data import (
    GRADE_LESIONS,
    LESION_MASKS,
    ComposedMasks,
    EyeGeometry,
    LesionBank,
    MaskComposer,
    phantom_fundus,
    rule_violation,
)
from monai_retina_gen.data.lesion_bank import counts_by_lesion
from monai_retina_gen.errors import DatalistError, ImageValueError

SIZE = 128
N = 120


def eye(seed: int, size: int = SIZE) -> dict[str, Any]:
    return phantom_fundus(1000 + seed, grade=0, size=size).masks


@pytest.fixture(scope="module")
def composed(phantom_bank: LesionBank) -> dict[int, list[ComposedMasks]]:
    composer, eyes = MaskComposer(phantom_bank), [eye(i) for i in range(10)]
    return {grade: [composer.compose(eyes[i % 10], grade, seed=i) for i in range(N)] for grade in range(5)}


@pytest.mark.parametrize("grade", [1, 2, 3, 4])
def test_statistics_are_the_banks(
    grade: int, composed: dict[int, list[ComposedMasks]], phantom_bank: LesionBank
) -> None:
    rows = MaskComposer(phantom_bank).profiles(grade)
    drawn = np.stack([one.counts for one in composed[grade]])
    for kind, name in enumerate(LESION_MASKS):
        there = phantom_bank.counts[rows, kind]
        if not there.sum():
            assert drawn[:, kind].sum() == 0
            continue
        mean_area = phantom_bank.area[phantom_bank.kind == kind].mean()
        areas = np.bincount(
            phantom_bank.eye, phantom_bank.area * (phantom_bank.kind == kind), minlength=len(phantom_bank)
        )
        field = np.pi * 63**2
        samples = {
            "count": (there.sum(1), drawn[:, kind].sum(1)),
            "quadrants": ((there > 0).sum(1), (drawn[:, kind] > 0).sum(1)),
            # no finer than a mean lesion: a microaneurysm is a pixel or two here
            "area": (areas[rows] // mean_area, np.array([m.area[name] for m in composed[grade]]) * field // mean_area),
        }
        for what, (real, made) in samples.items():
            assert stats.ks_2samp(real, made).pvalue > 1e-3, (name, what)


def test_a_composer_of_the_wrong_grade_would_be_seen(
    composed: dict[int, list[ComposedMasks]], phantom_bank: LesionBank
) -> None:
    real = phantom_bank.counts[MaskComposer(phantom_bank).profiles(3), LESION_MASKS.index("he")].sum(1)
    made = np.array([one.counts[LESION_MASKS.index("he")].sum() for one in composed[2]])
    assert stats.ks_2samp(real, made).pvalue < 1e-3


def test_lesions_lie_where_the_bank_has_them(
    composed: dict[int, list[ComposedMasks]], phantom_bank: LesionBank
) -> None:
    """Share of haemorrhages per quadrant, superior and inferior together, since flips exchange those."""
    he = LESION_MASKS.index("he")
    real = phantom_bank.counts[MaskComposer(phantom_bank).profiles(3), he].sum(0)
    made = np.sum([one.counts[he] for one in composed[3]], 0)
    share = [(c[0] + c[2]) / c.sum() for c in (real, made)]
    assert share[0] == pytest.approx(share[1], abs=0.05)


@settings(max_examples=40, deadline=None)
@given(
    grade=st.integers(0, 4), seed=st.integers(0, 2**32 - 1), anatomy=st.integers(0, 5), size=st.sampled_from([48, 96])
)
def test_rules_and_places(phantom_bank: LesionBank, grade: int, seed: int, anatomy: int, size: int) -> None:
    masks = eye(anatomy, size)
    made = MaskComposer(phantom_bank).compose(masks, grade, seed=seed)
    assert rule_violation(grade, counts_by_lesion(made.counts)) == ""
    assert set(made.masks) == set(LESION_MASKS)
    field, disc = masks["fov"] >= 0.5, masks["od"] >= 0.5
    for name, mask in made.masks.items():
        assert mask.shape == (1, size, size)
        assert mask.dtype == torch.float32
        assert mask.min() >= 0
        assert mask.max() <= 1
        assert not mask[~field].any()
        assert not (name not in GRADE_LESIONS[grade] and mask.any())
        if name != "membrane":
            assert ((mask >= 0.5) & disc).sum() <= 0.01 * disc.sum()


def test_quadrants_of_the_masks_are_those_that_were_counted(composed: dict[int, list[ComposedMasks]]) -> None:
    """What stands in `counts`, found again in the masks themselves."""
    he = LESION_MASKS.index("he")
    for i, one in enumerate(composed[3][:20]):
        masks = eye(i % 10)
        geometry = EyeGeometry.from_masks(masks["fov"][0].numpy(), masks["od"][0].numpy())
        labels, number = ndimage.label(one.masks["he"][0].numpy() >= 0.5, np.ones((3, 3)))
        assert 0.4 * one.counts[he].sum() <= number <= one.counts[he].sum() + 3  # at this size many touch
        middles = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, number + 1)))[:, ::-1] + 0.5
        found = np.bincount(geometry.quadrants(middles), minlength=4)
        assert ((found > 0) == (one.counts[he] > 0)).mean() >= 0.75


def test_all_draws_come_from_the_seed(phantom_bank: LesionBank, tmp_path: Any) -> None:
    phantom_bank.save(tmp_path / "bank.npz")
    first, again = MaskComposer(phantom_bank), MaskComposer(tmp_path / "bank.npz")
    made = [c.compose(eye(0), 3, seed=5) for c in (first, again)]
    assert all(torch.equal(made[0].masks[name], made[1].masks[name]) for name in LESION_MASKS)
    assert made[0].profile == made[1].profile != ""
    others = {first.compose(eye(0), 3, seed=s).masks["he"].numpy().tobytes() for s in range(20)}
    assert len(others) == 20  # any number of images for one vessel map


def test_moves_and_flips(phantom_bank: LesionBank) -> None:
    still = MaskComposer(phantom_bank, move=0.0, flip=0.0)
    moved = MaskComposer(phantom_bank, move=0.1, flip=0.0)
    flipped = MaskComposer(phantom_bank, move=0.0, flip=1.0)
    made = {
        name: c.compose(eye(1), 3, seed=2) for name, c in (("still", still), ("moved", moved), ("flipped", flipped))
    }
    assert (made["still"].counts == made["moved"].counts).all()
    assert not torch.equal(made["still"].masks["he"], made["moved"].masks["he"])
    assert not torch.equal(made["still"].masks["he"], made["flipped"].masks["he"])


def test_one_donor_without_moves_gives_its_own_masks(phantom_bank: LesionBank) -> None:
    """A bank of one eye, nothing moved or flipped, composed onto that very eye: its own masks."""
    row = int(MaskComposer(phantom_bank).profiles(2)[0])
    pieces = np.flatnonzero(phantom_bank.eye == row)
    pixels = [phantom_bank.pixels[phantom_bank.start[p] : phantom_bank.start[p + 1]] for p in pieces]
    own = LesionBank(
        diameter=phantom_bank.diameter,
        **{name: getattr(phantom_bank, name)[[row]] for name in ("name", "grade", "annotated", "disc", "field")},
        eye=np.zeros(len(pieces), np.int64),
        kind=phantom_bank.kind[pieces],
        position=phantom_bank.position[pieces],
        start=np.concatenate([[0], np.cumsum([len(p) for p in pixels])]),
        pixels=np.concatenate(pixels),
    )
    masks = phantom_fundus(21 * 2**32 + row, grade=2, size=SIZE).masks
    made = MaskComposer(own, move=0.0, flip=0.0).compose(masks, 2, seed=0).masks
    for name in ("he", "ex", "ma"):
        # the field's diameter is 126 of 128 pixels, so that pieces are enlarged by 1 %
        asked, found = masks[name][0] >= 0.5, made[name][0] >= 0.3
        grown = torch.nn.functional.max_pool2d(asked[None].float(), 5, stride=1, padding=2)[0] > 0
        assert (found & ~grown).sum() <= 0.05 * found.sum() + 2
        assert found.sum() >= 0.6 * asked.sum()


def test_four_quadrants_of_haemorrhages(phantom_bank: LesionBank) -> None:
    made = MaskComposer(phantom_bank, haemorrhages_per_quadrant=20).compose(eye(0), 3, seed=1)
    assert (made.counts[LESION_MASKS.index("he")] >= 18).all()  # what finds no place is left out
    only = MaskComposer(phantom_bank, lesions=("ex",)).compose(eye(0), 3, seed=1)
    assert only.counts.sum() == only.counts[LESION_MASKS.index("ex")].sum()


def test_without_a_disc_and_off_centre(phantom_bank: LesionBank) -> None:
    masks = eye(2)
    assert MaskComposer(phantom_bank).compose({"fov": masks["fov"]}, 3, seed=1).counts.sum() > 0
    wide = {k: torch.nn.functional.pad(m, (40, 0, 0, 20)) for k, m in masks.items()}
    made = MaskComposer(phantom_bank).compose(wide, 3, seed=1).masks["he"]
    assert made.shape == (1, 148, 168)
    assert made.any()
    assert not made[:, :, :40].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"move": -1}, "move=-1"),
        ({"flip": 2}, "flip=2"),
        ({"lesions": ("drusen",)}, "unknown \\['drusen'\\]"),
        ({"haemorrhages_per_quadrant": -1}, "number from 0"),
    ],
)
def test_bad_options_are_named(phantom_bank: LesionBank, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskComposer(phantom_bank, **options)


def test_bad_requests_are_named(phantom_bank: LesionBank) -> None:
    composer, masks = MaskComposer(phantom_bank), eye(0)
    with pytest.raises(ValueError, match="grade must be"):
        composer.compose(masks, 5, seed=0)
    with pytest.raises(ImageValueError, match="'fov'"):
        composer.compose({"od": masks["od"]}, 2, seed=0)
    with pytest.raises(ImageValueError, match="one size"):
        composer.compose({"fov": masks["fov"], "od": masks["od"][:, :64]}, 2, seed=0)
    with pytest.raises(ImageValueError, match="field of view is empty"):
        composer.compose({"fov": torch.zeros(1, 64, 64)}, 2, seed=0)
    none = MaskComposer(phantom_bank, annotated_only=True)
    object.__setattr__(none, "_profiles", dict.fromkeys(range(1, 5), np.zeros(0, np.int64)))
    with pytest.raises(DatalistError, match="no eye of grade 2"):
        none.compose(masks, 2, seed=0)
    assert none.grades == (0,)
