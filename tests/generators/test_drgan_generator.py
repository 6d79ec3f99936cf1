"""`synthesize`: seeds, records, predicted grades, and every refusal with its way out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.data import (
    CONDITION_KEYS,
    CONDITION_LESIONS,
    GRADE_LESIONS,
    LesionBank,
    condition_map,
    missing_masks,
    phantom_fundus,
)
from monai_retina_gen.errors import ImageValueError, UnsupportedModeError
from monai_retina_gen.generators import DRGANGenerator
from monai_retina_gen.networks import DRGAN, GradingSpace

SIDE = 32


@pytest.fixture(scope="module")
def generator() -> DRGANGenerator:
    torch.manual_seed(0)
    network = DRGAN(base_width=4, residual_blocks=1, grading_dimension=6, grading_rank=0, mapping_width=8)
    grades = torch.arange(50) % 5
    space = GradingSpace(dimension=6)
    space.fit(grades[:, None] + torch.randn(50, 6), grades)
    network.set_grading_space(space.state_dict())
    return DRGANGenerator(network, image_size=SIDE, batch_size=2)


def masks(count: int = 3, **squares: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Empty masks with a square of 4 px at a place for each key."""
    found = {}
    for key, (row, column) in ({"vessel": (0, 0)} | squares).items():
        found[key] = torch.zeros(count, 1, SIDE, SIDE)
        found[key][:, :, row : row + 4, column : column + 4] = 1
    return found


def test_an_image_depends_on_masks_grade_and_seed_alone(generator: DRGANGenerator) -> None:
    given_masks = masks(3, od=(8, 8))
    batch = generator.synthesize(given_masks, [1, 2, 3], seeds=[4, 5, 6])
    alone = generator.synthesize({k: v[2:] for k, v in given_masks.items()}, [3], seeds=[6])
    torch.testing.assert_close(batch.image[2:], alone.image, atol=1 / 255, rtol=0)
    assert batch.image.shape == (3, 3, SIDE, SIDE)
    assert batch.image.min() >= 0
    assert batch.image.max() <= 1
    assert not torch.allclose(generator.synthesize(given_masks, [1, 2, 3], seeds=[7, 8, 9]).image, batch.image)


def test_record_names_what_is_missing(generator: DRGANGenerator) -> None:
    batch = generator.synthesize(masks(1, od=(8, 8)), [3], seeds=[4], sources=["eye 7"])
    record = batch.records[0]
    assert (record.mode, record.grade, record.seed, record.source) == ("synthesize", 3, 4, "eye 7")
    assert record.options["masks"] == ["od", "vessel"]
    assert record.options["missing_masks"] == [key for key in CONDITION_KEYS if key not in ("vessel", "od")]
    assert record.options["grade_predicted"] is False
    assert set(batch.masks) == {"vessel", "od"}


def test_missing_masks_are_zero(generator: DRGANGenerator) -> None:
    some = masks(1)
    zeros = {key: torch.zeros(1, 1, SIDE, SIDE) for key in CONDITION_KEYS}
    one, two = (generator.synthesize(m, [2], seeds=[1]).image for m in (some, zeros | some))
    assert torch.equal(one, two)


def test_predicts_the_grade_where_none_is_asked_for(generator: DRGANGenerator) -> None:
    given_masks = masks(3, ma=(20, 20))
    batch = generator.synthesize(given_masks, seeds=[1, 2, 3], allow=["excluded"])
    predicted = generator.network.predict_grade(condition_map(given_masks)).argmax(1)
    assert torch.equal(batch.grade, predicted)
    assert all(record.options["grade_predicted"] for record in batch.records)


def test_phantom_masks_are_a_request(generator: DRGANGenerator) -> None:
    for grade in range(5):
        phantom = phantom_fundus(grade, grade=grade, size=SIDE)
        batch = generator.synthesize(
            {k: m[None] for k, m in phantom.masks.items()}, [grade], seeds=[0], allow=["overlap"]
        )
        assert batch.records[0].options["missing_masks"] == []


@pytest.mark.parametrize("grade", [0, 1, 2, 3])
@pytest.mark.parametrize("lesion", ["ma", "he", "ex", "se", "laser", "membrane"])
def test_lesions_that_the_grade_excludes(generator: DRGANGenerator, grade: int, lesion: str) -> None:
    given_masks = masks(1, **{lesion: (20, 20)})
    late = ("laser", "membrane")
    if (grade, lesion) == (1, "ma") or (grade in (2, 3) and lesion not in late):
        assert lesion in GRADE_LESIONS[grade]
        generator.synthesize(given_masks, [grade], seeds=[0])
        return
    with pytest.raises(ImageValueError, match=rf"{lesion}, which grade {grade} excludes.*allow=\('excluded',\)"):
        generator.synthesize(given_masks, [grade], seeds=[0])
    batch = generator.synthesize(given_masks, [grade], seeds=[0], allow=["excluded"])
    assert batch.records[0].options["allow"] == ["excluded"]
    generator.synthesize(given_masks, [4], seeds=[0])


def test_lesions_on_the_disc(generator: DRGANGenerator) -> None:
    given_masks = masks(2, od=(8, 8), ex=(8, 8))
    given_masks["ex"][0] = 0
    with pytest.raises(ImageValueError, match=r"'ex' lies on the optic disc in rows \[1\].*allow=\('overlap',\)"):
        generator.synthesize(given_masks, [2, 2], seeds=[0, 1])
    generator.synthesize(given_masks, [2, 2], seeds=[0, 1], allow=["overlap"])
    generator.synthesize(masks(1, od=(8, 8), membrane=(8, 8)), [4], seeds=[0])  # grows from the disc


def test_sizes(generator: DRGANGenerator) -> None:
    large = {"vessel": torch.zeros(1, 1, 64, 64)}
    with pytest.raises(ImageValueError, match=r"makes 32 px.*allow=\('size',\)"):
        generator.synthesize(large, [2], seeds=[0])
    assert generator.synthesize(large, [2], seeds=[0], allow=["size"]).image.shape[-1] == 64
    with pytest.raises(ImageValueError, match="multiples of 16"):
        generator.synthesize({"vessel": torch.zeros(1, 1, 40, 40)}, [2], seeds=[0], allow=["size"])
    with pytest.raises(ImageValueError, match="one size"):
        generator.synthesize({"vessel": torch.zeros(1, 1, SIDE, SIDE), **{"ma": large["vessel"]}}, [2], seeds=[0])


@pytest.mark.parametrize(
    ("given_masks", "options", "error", "named"),
    [
        ({"drusen": torch.zeros(1, 1, SIDE, SIDE)}, {}, ImageValueError, "drusen"),
        ({}, {}, ImageValueError, "no mask"),
        ({"vessel": torch.zeros(1, SIDE, SIDE)}, {}, ImageValueError, "batch"),
        ({"vessel": torch.full((1, 1, SIDE, SIDE), 255.0)}, {}, ImageValueError, "divide 8-bit masks by 255"),
        ({"vessel": torch.full((1, 1, SIDE, SIDE), float("nan"))}, {}, ImageValueError, r"\[0, 1\]"),
        (masks(1), {"grades": [5]}, ValueError, "outside 0-4"),
        (masks(1), {"grades": [-1]}, ValueError, "outside 0-4"),
        (masks(1), {"seeds": [1, 2]}, ValueError, "seeds"),
        (masks(1), {"grades": [1, 2]}, ValueError, "grades"),
        (masks(1), {"allow": ["everything"]}, ValueError, "everything"),
        (masks(1), {"strength": 1.0}, TypeError, "strength"),
    ],
)
def test_refuses(
    generator: DRGANGenerator, given_masks: Any, options: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        generator.synthesize(given_masks, **({"grades": [2], "seeds": [0]} | options))


def test_other_modes_are_refused_by_name(generator: DRGANGenerator) -> None:
    with pytest.raises(UnsupportedModeError, match="sample"):
        generator.sample([1], seeds=[1])
    with pytest.raises(ValueError, match="multiple of 16"):
        DRGANGenerator(generator.network, image_size=40)


@settings(max_examples=20, deadline=None)
@given(keys=st.lists(st.sampled_from(CONDITION_KEYS), min_size=1, unique=True), batched=st.booleans())
def test_condition_map_holds_every_mask_in_its_channel(keys: list[str], batched: bool) -> None:
    given_masks = {key: torch.rand((2, 1, 4, 3) if batched else (1, 4, 3)) for key in keys}
    found = condition_map(given_masks)
    assert found.shape == ((2, 9, 4, 3) if batched else (9, 4, 3))
    for index, key in enumerate(CONDITION_KEYS):
        plane = found.select(-3, index)
        expected = given_masks[key].select(-3, 0) if key in given_masks else torch.zeros_like(plane)
        assert torch.equal(plane, expected)
    assert sorted([*keys, *missing_masks(given_masks)]) == sorted(CONDITION_KEYS)


def test_sample_draws_eyes_of_nobody_with_lesions_of_the_bank(
    generator: DRGANGenerator, phantom_bank: LesionBank
) -> None:
    with pytest.raises(UnsupportedModeError, match="sample"):
        generator.sample([0], seeds=[1])
    sampler = DRGANGenerator(generator.network, image_size=128)
    sampler.set_lesion_bank(phantom_bank)
    assert sampler.modes == {"sample", "synthesize", "edit"}
    grades = sorted(set(range(5)) - sampler.missing_grades)
    batch = sampler.sample(grades, seeds=[7] * len(grades))
    again = sampler.sample(grades[-1:], seeds=[7])
    torch.testing.assert_close(batch.image[-1:], again.image, atol=1 / 255, rtol=0)
    assert torch.equal(batch.masks["vessel"][0], batch.masks["vessel"][-1])  # one eye
    for row, grade in enumerate(grades):
        shown = {key for key in CONDITION_LESIONS if batch.masks[key][row].any()}
        assert shown <= set(GRADE_LESIONS[grade])
        assert bool(shown) == (grade > 0)
    with pytest.raises(ValueError, match="as many seeds"):
        sampler.sample([0, 0], seeds=[1])
    with pytest.raises(TypeError, match="temperature"):
        sampler.sample([0], seeds=[1], temperature=1.0)
