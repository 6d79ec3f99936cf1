"""The phantom fundus: exact masks, counts by the clinical rules, reproducible from its seed, like a photograph."""

from __future__ import annotations

import csv
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import load_decathlon_datalist
from scipy import ndimage, stats
from torch.nn.functional import avg_pool2d
from torch.utils.data import DataLoader

from monai_retina_gen.data import PhantomDataset, PhantomFundus, phantom_fundus, read_mask, write_phantoms
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.data.phantom.drawing import Discs, Strokes, noise_field
from monai_retina_gen.data.phantom.fundus import GRADE_COUNTS, GRADE_RULES, MASKS, SIGNS, draw_counts, draw_grade

EIGHT_NEIGHBOURS = np.ones((3, 3))


def components(mask: torch.Tensor) -> tuple[np.ndarray, int]:
    """Independent count of separate lesions in a mask."""
    labels, number = ndimage.label(mask[0].numpy() > 0.02, EIGHT_NEIGHBOURS)
    return labels, number


# Drawing: areas by their closed forms.


@pytest.mark.parametrize("radius", [0.3, 0.6, 1.7, 6.0, 20.0])
def test_disc_covers_its_area(radius: float) -> None:
    size, areas = 64, []
    for shift in np.linspace(0, 1, 5):
        centre = np.array([[(32 + shift) / 32 - 1, 0.01]], np.float32)
        areas.append(Discs(centre, np.array([radius / 32], np.float32)).coverage(size).sum())
    assert np.mean(areas) == pytest.approx(np.pi * radius**2, rel=0.03)


@pytest.mark.parametrize("radius", [0.2, 0.5, 1.5, 5.0])
def test_stroke_covers_width_times_length(radius: float) -> None:
    points = np.stack([np.linspace(-0.8, 0.8, 20), np.full(20, 0.013)], -1)[None].astype(np.float32)
    cover = Strokes(points, np.full((1, 20), radius / 64, np.float32)).coverage(128)
    assert cover[:, 30:98].sum() == pytest.approx(68 * 2 * radius, rel=0.05)


def test_drawing_at_the_edge_and_of_nothing() -> None:
    corner = Discs(np.array([[-0.98, -0.98], [5.0, 0.0]]), np.array([0.5, 0.5])).coverage(32)
    assert corner[0, 0] == 1
    assert corner[:, -1].max() == 0
    assert Discs(np.zeros((0, 2)), np.zeros(0)).coverage(32).sum() == 0
    assert Strokes(np.zeros((0, 8, 2)), np.zeros((0, 8))).coverage(32).sum() == 0


def test_noise_is_the_same_at_every_size_and_of_unit_variance() -> None:
    large, small = (noise_field(np.random.default_rng(3), 12, size) for size in (256, 64))
    assert np.abs(large.reshape(64, 4, 64, 4).mean((1, 3)) - small).max() < 0.15
    assert np.std([noise_field(np.random.default_rng(s), 12, 64) for s in range(20)]) == pytest.approx(1, abs=0.1)


# The phantom as a whole.


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**70), st.sampled_from([None, 0, 1, 2, 3, 4]), st.integers(16, 70))
def test_any_phantom_keeps_the_conventions(seed: int, grade: int | None, size: int) -> None:
    phantom = phantom_fundus(seed, grade=grade, size=size)
    assert phantom.image.shape == (3, size, size)
    assert phantom.grade == (phantom.grade if grade is None else grade)
    assert phantom.seed == seed
    assert tuple(phantom.masks) == MASKS
    assert tuple(phantom.lesion_counts) == SIGNS
    for tensor in (phantom.image, *phantom.masks.values()):
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous()
        assert tensor.isfinite().all()
        assert 0 <= tensor.min() <= tensor.max() <= 1
    for mask in phantom.masks.values():
        assert mask.shape == (1, size, size)
        assert (mask <= phantom.masks["fov"]).all()
    assert (phantom.image * (phantom.masks["fov"] == 0)).max() == 0


def test_a_phantom_depends_on_its_arguments_alone() -> None:
    first = phantom_fundus(11, grade=4, size=64)
    np.random.seed(5)  # noqa: NPY002 - the global state must not matter
    torch.manual_seed(5)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    second = phantom_fundus(11, grade=4, size=64)
    assert torch.equal(first.image, second.image)
    assert all(torch.equal(first.masks[name], second.masks[name]) for name in MASKS)
    assert torch.equal(state[0], torch.get_rng_state())
    assert (state[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert not torch.equal(first.image, phantom_fundus(12, grade=4, size=64).image)


@pytest.mark.parametrize("seed", range(5))
def test_same_eye_at_every_size(seed: int) -> None:
    large, small = (phantom_fundus(seed, grade=seed, size=size) for size in (256, 128))
    assert large.lesion_counts == small.lesion_counts
    assert (avg_pool2d(large.image, 2) - small.image).abs().mean() < 0.006
    for name in MASKS:
        shrunk = avg_pool2d(large.masks[name], 2)
        assert (shrunk - small.masks[name]).abs().sum() <= 0.06 * shrunk.sum(), name


def test_same_seed_keeps_the_healthy_eye_at_every_grade() -> None:
    healthy, mild = (phantom_fundus(3, grade=grade, size=64) for grade in (0, 1))
    for name in ("od", "fov", "vessel"):
        assert torch.equal(healthy.masks[name], mild.masks[name])
    untouched = avg_pool2d(mild.masks["ma"], 9, stride=1, padding=4) == 0
    assert ((healthy.image - mild.image) * untouched).abs().max() < 1e-6


def test_left_and_right_eyes_with_the_fovea_temporal_of_the_disc() -> None:
    phantoms = [phantom_fundus(seed, size=64) for seed in range(20)]
    assert {phantom.temporal for phantom in phantoms} == {-1, 1}
    for phantom in phantoms:
        _, disc_x = ndimage.center_of_mass(phantom.masks["od"][0].numpy())
        diameter = phantom.masks["od"].sum().item() ** 0.5 * 2 / np.pi**0.5
        distance = (phantom.fovea[0] * 64 - 0.5 - disc_x) * phantom.temporal / diameter
        assert 2.2 < distance < 3.5


# The clinical rules.


def test_drawn_grades_follow_the_training_frequencies() -> None:
    rng = np.random.default_rng(0)
    drawn = np.bincount([draw_grade(rng) for _ in range(3000)], minlength=5)
    assert stats.chisquare(drawn, np.array(GRADE_COUNTS) / sum(GRADE_COUNTS) * 3000).pvalue > 0.001


@pytest.mark.parametrize("grade", range(5))
def test_counts_follow_the_rules(grade: int) -> None:
    rule, rng = GRADE_RULES[grade], np.random.default_rng(grade)
    drawn = [draw_counts(grade, rng) for _ in range(300)]
    for counts in drawn:
        for sign in SIGNS:
            low, high, probability = rule.counts.get(sign, (0, 0, 1))
            assert low <= counts[sign] <= high or (counts[sign] == 0 and probability < 1)
        assert not rule.required or any(counts[sign] for sign in rule.required)
    for sign in rule.counts:
        assert any(counts[sign] for counts in drawn)


def test_rules_are_those_of_the_clinical_scale() -> None:
    proliferative = {"neovascularisation", "preretinal", "membrane", "laser"}
    severe = {"four_quadrants", "beading", "irma"}
    signs = [set(rule.counts) for rule in GRADE_RULES]
    assert signs[0] == set()
    assert signs[1] == {"ma"}
    assert signs[2] == {"ma", "he", "ex", "se"}
    assert signs[3] == signs[2] | severe
    assert signs[4] >= proliferative
    assert set(GRADE_RULES[3].required) == severe
    assert set(GRADE_RULES[4].required) <= proliferative
    assert GRADE_RULES[3].counts["beading"][0] == 2


@pytest.mark.parametrize("grade", range(5))
@pytest.mark.parametrize("seed", range(4))
def test_masks_hold_what_was_counted(grade: int, seed: int) -> None:
    phantom = phantom_fundus(seed, grade=grade, size=400)
    counts, masks = phantom.lesion_counts, phantom.masks
    assert components(masks["ma"])[1] == counts["ma"]
    assert components(masks["he"])[1] == counts["he"] + counts["preretinal"]
    assert sum(phantom.he_quadrants) == counts["he"]
    for name in ("ex", "se", "laser", "membrane"):
        assert (components(masks[name])[1] > 0) == (counts[name] > 0)
        assert name == "membrane" or components(masks[name])[1] <= counts[name] * 4


def test_haemorrhages_by_quadrant_in_the_mask() -> None:
    severe = [p for p in (phantom_fundus(s, grade=3, size=32) for s in range(20)) if p.lesion_counts["four_quadrants"]]
    other = [phantom_fundus(seed, grade=2, size=32) for seed in range(20)]
    assert severe
    assert all(max(phantom.he_quadrants) < 20 for phantom in other)
    for phantom in severe[:2]:
        labels, number = components(phantom_fundus(phantom.seed, grade=3, size=400).masks["he"])
        centres = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, number + 1)))
        nasal = (centres[:, 1] - phantom.fovea[0] * 400) * phantom.temporal < 0
        inferior = centres[:, 0] > phantom.fovea[1] * 400
        quadrants = np.bincount(2 * inferior + nasal, minlength=4)
        assert np.abs(quadrants - phantom.he_quadrants).max() <= 1  # a centre of mass beside the border
        assert quadrants.min() >= 19
        assert min(phantom.he_quadrants) >= 20


# Looks.


def local_contrast(phantom: PhantomFundus, name: str) -> float:
    """Mean green inside a mask over the mean green close around it, both off the bright disc."""
    mask, green = phantom.masks[name], phantom.image[1:2]
    counted = (phantom.masks["fov"] == 1) & ((phantom.masks["od"] == 0) | torch.tensor(name == "od"))
    around = (avg_pool2d(mask, 25, stride=1, padding=12) > 0) & (mask == 0)
    return (green[counted & (mask > 0.9)].mean() / green[counted & around].mean()).item()


@pytest.mark.parametrize("name", ["ma", "he", "vessel", "ex", "se", "od"])
def test_lesions_and_structures_are_darker_or_brighter_than_the_retina(name: str) -> None:
    phantoms = [phantom_fundus(seed, grade=2 + seed % 3, size=256) for seed in range(9)]
    ratio = np.nanmedian([local_contrast(phantom, name) for phantom in phantoms])
    assert (ratio < 0.92) if name in ("ma", "he", "vessel") else (ratio > 1.1)


def test_colours_are_those_of_photographs(mrg_data) -> None:
    folder = mrg_data / "idrid"
    with open(folder / "splits.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train" and row["canonical"] == "1"][:150:3]
    real = torch.stack([avg_pool2d(read_image(folder / "256" / row["image"]), 4) for row in rows])
    phantoms = torch.stack([phantom_fundus(seed, size=64).image for seed in range(50)])
    # Four standard errors of the difference of two means of 50 images.
    assert ((real.mean((0, 2, 3)) - phantoms.mean((0, 2, 3))).abs() < torch.tensor([0.08, 0.055, 0.05])).all()
    spread = phantoms.mean((2, 3)).std(0) / real.mean((2, 3)).std(0)
    assert ((spread > 0.5) & (spread < 1.6)).all()


# Data set and files.


def test_dataset_items() -> None:
    dataset = PhantomDataset(length=6, size=32, seed=1, grades=(0, 3), masks=True)
    again = pickle.loads(pickle.dumps(dataset))
    assert len(pickle.dumps(dataset)) < 1000
    assert [item["grade"] for item in dataset] == [0, 3, 0, 3, 0, 3]
    assert torch.equal(dataset[-1]["image"], again[5]["image"])
    assert type(dataset[0]["image"]) is torch.Tensor
    assert set(dataset[0]) == {"image", "grade", "group", *MASKS}
    assert dataset[0]["grade"] == 0
    with pytest.raises(IndexError, match="6"):
        dataset[6]


def test_dataset_groups_are_disjoint_and_loading_is_deterministic() -> None:
    groups = [{PhantomDataset(length=5, size=16, seed=seed)[i]["group"] for i in range(5)} for seed in range(3)]
    assert len(set.union(*groups)) == 15
    loads = [list(DataLoader(PhantomDataset(length=6, size=16), batch_size=3, num_workers=n)) for n in (0, 2)]
    for alone, workers in zip(*loads, strict=True):
        assert torch.equal(alone["image"], workers["image"])
        assert alone["grade"].tolist() == workers["grade"].tolist()


def test_write_phantoms(tmp_path) -> None:
    path = write_phantoms(tmp_path / "first", count=10, size=48, seed=2)
    datalist = json.loads(path.read_text())
    assert [len(datalist[section]) for section in ("training", "validation", "test")] == [7, 1, 2]
    assert datalist["name"] == "phantom fundus"
    assert "not photographs" in datalist["description"]
    assert not list(path.parent.rglob("*.part"))
    items = datalist["training"] + datalist["validation"] + datalist["test"]
    assert len({item["group"] for item in items}) == 10
    dataset = PhantomDataset(length=10, size=48, seed=2, masks=True)
    for item, expected in zip(items, dataset, strict=True):
        assert (item["grade"], item["group"]) == (expected["grade"], expected["group"])
        assert (read_image(path.parent / item["image"]) - expected["image"]).abs().max() <= 0.502 / 255
        for name in MASKS:
            assert (read_mask(path.parent / item[name]) - expected[name]).abs().max() <= 0.502 / 255
    monai_items = load_decathlon_datalist(str(path), True, "training", base_dir=str(path.parent))
    assert [item["image"] for item in monai_items] == [str(path.parent / item["image"]) for item in items[:7]]


def test_written_bytes_are_reproducible_and_an_empty_section_is_left_out(tmp_path) -> None:
    first, second = (write_phantoms(tmp_path / n, count=2, size=32, splits=(0.5, 0, 0.5), masks=False) for n in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert "validation" not in json.loads(first.read_text())
    for image in (first.parent / "images").iterdir():
        assert image.read_bytes() == (second.parent / "images" / image.name).read_bytes()
    assert not (first.parent / "masks").exists()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: phantom_fundus(-1), "seed is -1"),
        (lambda: phantom_fundus(1, grade=5), "grade is 5"),
        (lambda: phantom_fundus(1, size=8), "size is 8"),
        (lambda: PhantomDataset(length=0), "length is 0"),
        (lambda: PhantomDataset(length=3, seed=-2), "seed is -2"),
        (lambda: PhantomDataset(length=3, grades=(1, 7)), "grades is"),
        (lambda: PhantomDataset(length=3, grades=()), "grades is"),
        (lambda: write_phantoms("never-made", count=4, splits=(0.5, 0.2, 0.2)), "splits is"),
        (lambda: write_phantoms("never-made", count=0), "length is 0"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
