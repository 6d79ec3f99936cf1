"""Smooth phantoms: exact masks that grow with their factor alone, the grades' rules, continuity."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.data.lesion_rules import GRADE_LESIONS
from monai_retina_gen.data.names import LESIONS
from monai_retina_gen.data.phantom.smooth import AMOUNTS, FACTORS, draw_smooth_phantom, grade_amount
from monai_retina_gen.generators import PhantomGenerator


def drawn(size: int = 32, **factors: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return draw_smooth_phantom([factors.get(name, 0.0) for name in FACTORS], size=size)


@pytest.mark.parametrize("lesion", LESIONS)
def test_area_grows_with_the_amount_and_nothing_else_changes(lesion: str) -> None:
    made = [drawn(size=64, **{lesion: amount}) for amount in (0.0, 0.3, 0.6, 1.0)]
    areas = [masks[lesion].sum() for _, masks in made]
    assert areas[0] == 0
    assert all(b > 1.5 * a for a, b in pairwise(areas))
    (plain, masks), (full, own) = made[0], made[-1]
    for name in masks:
        if name not in (lesion, "sites"):
            np.testing.assert_array_equal(masks[name], own[name])
    change = np.abs(full - plain).max(0)
    near = own[lesion] > 0
    assert change[near].max() > 0.1
    assert change[~near].max() < 0.05  # the camera's blur reaches a little farther than the mask
    assert (own[lesion] <= own["sites"] + 1e-6).all()


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=len(FACTORS), max_size=len(FACTORS)), st.integers(0, len(FACTORS) - 1))
def test_is_continuous(values: list[float], index: int) -> None:
    """A small step of any factor is a small change of the picture: what a network can learn."""
    moved = list(values)
    moved[index] += 0.002 if moved[index] < 0.5 else -0.002
    (one, masks), (two, others) = draw_smooth_phantom(values, size=32), draw_smooth_phantom(moved, size=32)
    assert np.abs(one - two).max() < 0.02
    assert max(np.abs(masks[name] - others[name]).max() for name in masks) < 0.06
    assert one.min() >= 0
    assert one.max() <= 1


def test_amounts_follow_the_grade() -> None:
    for grade, amounts in enumerate(AMOUNTS):
        allowed = GRADE_LESIONS.get(grade, LESIONS)
        assert set(amounts) - {"preretinal"} <= set(allowed)
        assert ("preretinal" in amounts) == (grade == 4)
        for lesion in (*LESIONS, "preretinal"):
            low, high = grade_amount(grade, lesion, 0.0), grade_amount(grade, lesion, 1.0)
            assert 0 <= low <= high <= 1
    assert grade_amount(1, "ma", 0.0) > 0  # microaneurysms make grade 1
    # more haemorrhage than any eye of grade 2
    assert grade_amount(3, "he", 0.0) > grade_amount(2, "he", 1.0)


def test_generator_and_masks() -> None:
    generator = PhantomGenerator(image_size=32)
    batch = generator.sample([0, 1, 4], seeds=[5, 6, 7])
    again = generator.sample([4], seeds=[7])
    assert torch.equal(batch.image[2:], again.image)
    assert [record.mode for record in batch.records] == ["sample"] * 3
    assert float(sum(batch.masks[name][0].sum() for name in LESIONS)) == 0
    assert float(batch.masks["ma"][1].sum()) > 0
    assert float(sum(batch.masks[name][1].sum() for name in ("he", "ex", "se"))) == 0
    assert float(batch.masks["he"][2].sum()) > 0
    latents = generator.latents([5, 6])
    grades = torch.tensor([2, 3])
    torch.testing.assert_close(generator.factors(latents * 3, grades), generator.factors(latents, grades))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="one for each of disc_x"):
        draw_smooth_phantom([0.0])
    with pytest.raises(ValueError, match="10 factors"):
        PhantomGenerator(z_dim=3)
    with pytest.raises(ValueError, match="as many seeds"):
        PhantomGenerator(image_size=16).sample([0, 1], seeds=[1])
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        PhantomGenerator(image_size=16).sample([0], seeds=[1], truncation=0.5)
