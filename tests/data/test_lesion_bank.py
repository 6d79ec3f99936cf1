"""The lesion bank: geometry and pieces against the phantoms' exact truth, rules, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import (
    GRADE_LESIONS,
    LESION_MASKS,
    EyeGeometry,
    LesionBank,
    PhantomDataset,
    build_lesion_bank,
    load_datalist,
    phantom_fundus,
    rule_violation,
    write_image,
    write_mask,
)
from monai_retina_gen.data.bank_building import EyeMasks, eye_bank
from monai_retina_gen.data.lesion_rules import annotated_lesions, combine_masks, merge_masks
from monai_retina_gen.errors import DatalistError, ImageFileError, ImageValueError


def eye_masks(masks: dict[str, Any]) -> EyeMasks:
    plane = {name: mask[0].numpy() >= 0.5 for name, mask in masks.items()}
    geometry = EyeGeometry.from_masks(plane["fov"], plane["od"])
    lesions = {name: plane[name] for name in LESION_MASKS}
    return EyeMasks(geometry, plane["fov"], plane["od"], lesions, frozenset(lesions))


def test_geometry_finds_the_phantoms_eye() -> None:
    errors = []
    for seed in range(20):
        eye = phantom_fundus(seed, grade=0, size=128)
        found = EyeGeometry.from_masks(eye.masks["fov"][0].numpy(), eye.masks["od"][0].numpy())
        assert found.temporal == eye.temporal
        assert found.radius == pytest.approx(63, abs=1.5)
        errors.append(np.hypot(*(np.array(found.fovea) / 128 - eye.fovea)) * 128 / found.radius)
    assert np.mean(errors) < 0.07  # radii of the field: a third of a disc's diameter


@settings(max_examples=50, deadline=None)
@given(x=st.floats(0, 128), y=st.floats(0, 128), left=st.booleans())
def test_axes_of_the_eye_turn_back(x: float, y: float, left: bool) -> None:
    field, disc = np.ones((128, 128)), np.zeros((128, 128))
    disc[60:70, 20:30] = 1
    eye = EyeGeometry.from_masks(field, disc if left else disc[:, ::-1])
    point = np.array([[x, y]])
    np.testing.assert_allclose(eye.to_pixels(eye.to_eye(point)), point, atol=1e-9)


def test_mirrored_eyes_are_the_same_eye() -> None:
    masks = {k: m[0].numpy() for k, m in phantom_fundus(3, grade=3, size=128).masks.items()}
    right = EyeGeometry.from_masks(masks["fov"], masks["od"])
    left = EyeGeometry.from_masks(masks["fov"][:, ::-1], masks["od"][:, ::-1])
    point = np.array([[30.0, 50.0]])
    mirrored = np.array([[128 - 30.0, 50.0]])
    np.testing.assert_allclose(right.to_eye(point), left.to_eye(mirrored), atol=1e-6)
    assert right.temporal == -left.temporal


def test_empty_field_is_named() -> None:
    with pytest.raises(ImageValueError, match="field of view is empty"):
        EyeGeometry.from_masks(np.zeros((8, 8)))


def test_pieces_are_the_phantoms_lesions(phantom_bank: LesionBank) -> None:
    dataset = PhantomDataset(length=60, size=128, seed=21, grades=(1, 2, 3, 4), masks=True)
    for row in range(20):
        for kind, name in enumerate(LESION_MASKS):
            mine = (phantom_bank.eye == row) & (phantom_bank.kind == kind)
            assert phantom_bank.area[mine].sum() == (dataset[row][name] >= 0.5).sum()


def test_microaneurysms_and_haemorrhages_are_counted() -> None:
    """Against the phantoms' own counts; haemorrhages are a pixel apart at this size, and some touch."""
    eyes = [phantom_fundus(seed, grade=2 + seed % 2, size=256) for seed in range(8)]
    bank = LesionBank.joined([eye_bank("", e.grade, eye_masks(e.masks), diameter=256, min_area=1) for e in eyes])
    ma, he = (bank.counts[:, LESION_MASKS.index(name)] for name in ("ma", "he"))
    assert ma.sum(1).tolist() == [e.lesion_counts["ma"] for e in eyes]
    for found, eye in zip(he, eyes, strict=True):
        assert 0.7 * sum(eye.he_quadrants) <= found.sum() <= sum(eye.he_quadrants)
        assert np.abs(found - np.array(eye.he_quadrants)).sum() <= 2 + 0.3 * sum(eye.he_quadrants)


def test_pieces_lie_where_lesions_lie(phantom_bank: LesionBank) -> None:
    bank = phantom_bank
    pieces = (bank.eye, bank.kind, bank.position, bank.area, bank.quadrant)
    assert {len(column) for column in pieces} == {len(bank.start) - 1}
    lesion = np.array(LESION_MASKS)[bank.kind]
    assert set(lesion[bank.grade[bank.eye] == 1]) == {"ma"}
    assert np.linalg.norm(bank.position - bank.field[bank.eye], axis=1).max() < 1.1
    from_disc = np.linalg.norm(bank.position - bank.disc[bank.eye], axis=1)
    assert np.quantile(from_disc[lesion != "membrane"], 0.01) > 0.1
    np.testing.assert_array_equal(np.bincount(bank.quadrant, minlength=4), bank.counts.sum((0, 1)))


def test_save_and_load(phantom_bank: LesionBank, tmp_path: Path) -> None:
    phantom_bank.save(tmp_path / "a.npz")
    phantom_bank.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = LesionBank.load(tmp_path / "a.npz")
    assert again.digest() == phantom_bank.digest()
    np.testing.assert_array_equal(again.counts, phantom_bank.counts)
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:500])
    np.savez(tmp_path / "c.npz", format=np.array([object()], dtype=object))
    for name in ("b.npz", "c.npz"):  # cut off; a pickle, which is never run
        with pytest.raises(DatalistError, match="not a lesion bank"):
            LesionBank.load(tmp_path / name)
    with pytest.raises(DatalistError, match="no such lesion bank"):
        LesionBank.load(tmp_path / "none.npz")


def test_from_files_at_another_size(phantom_folder: Path) -> None:
    items = load_datalist(phantom_folder / "datalist.json")["training"]
    bank = build_lesion_bank(items, diameter=128, min_area=1, threshold=0.3)
    assert len(bank) == len(items)
    assert (bank.counts[bank.grade == 0] == 0).all()  # what the grade excludes is no lesion
    assert bank.counts[bank.grade == 3].sum() > 20
    assert bank.annotated.all()


def test_annotated_masks_win_over_predicted_ones(phantom_folder: Path, tmp_path: Path) -> None:
    item = next(i for i in load_datalist(phantom_folder / "datalist.json")["training"] if i["grade"] == 3)
    real = {k: v for k, v in item.items() if k not in ("ma", "se")}
    with_real = build_lesion_bank([real], predicted=[item], diameter=64, min_area=1, threshold=0.3)
    bare = {k: v for k, v in item.items() if k not in LESION_MASKS}
    predicted = build_lesion_bank([bare], predicted=[item], diameter=64, min_area=1, threshold=0.3)
    ma = LESION_MASKS.index("ma")
    assert with_real.annotated.all()
    assert not predicted.annotated.any()
    assert with_real.counts[0, ma].sum() == 0 < predicted.counts[0, ma].sum()
    assert merge_masks(bare, None) == bare
    # activation maps of laser scars say nothing of the four lesions that are annotated together
    assert set(merge_masks({"ex": "a"}, {"ma": "b", "laser": "c"})) == {"ex", "laser"}
    maps = {"image": item["image"], "laser": item["he"]}
    scarred = {k: v for k, v in real.items() if k != "laser"} | {"grade": 4}
    severe = build_lesion_bank([scarred], predicted=[item, maps], diameter=64, min_area=1, threshold=0.3)
    assert severe.counts[0, LESION_MASKS.index("laser")].sum() > 0
    with pytest.raises(DatalistError, match="no photograph with a grade"):
        build_lesion_bank([bare])
    wrong = tmp_path / "ma.png"
    write_mask(wrong, phantom_fundus(0, size=32).masks["fov"])
    with pytest.raises(ImageFileError, match="differ in size"):
        build_lesion_bank([{**item, "ma": str(wrong)}])


def test_planted_false_pieces_do_not_enter(tmp_path: Path) -> None:
    """Predicted: two exudates that show, one of them too large, and false ones where segmenters err."""
    side, row, column = 256, *np.mgrid[:256, :256]
    middle = np.hypot(row - 127.5, column - 127.5)
    disc = np.hypot(row - 128, column - 200) < 18

    def spot(y: int, x: int, radius: int) -> Any:
        return np.hypot(row - y, column - x) < radius

    def eye(name: str, seen: list[Any], planted: list[Any]) -> dict[str, Any]:
        image = np.where(middle < 124, 0.4, 0.0)
        image[disc] = 0.8
        for piece in seen:
            image[piece] = 0.7
        masks = {"fov": middle < 124, "od": disc, "ex": np.any([*seen, *planted], axis=0)}
        folder = tmp_path / name
        folder.mkdir()
        for key, mask in masks.items():
            write_mask(folder / f"{key}.png", torch.from_numpy(mask[None].astype(np.float32)))
        write_image(folder / "image.png", torch.from_numpy(image).float().expand(3, side, side))
        return {"image": str(folder / "image.png"), "grade": 2} | {k: str(folder / f"{k}.png") for k in masks}

    annotated = [eye(f"known{i}", [spot(60 + 8 * i, 80, 4), spot(180, 60 + 8 * i, 5)], []) for i in range(5)]
    planted = {
        "no contrast": spot(90, 60, 4),
        "the disc": disc,
        "beside the disc": spot(128, 178, 4),
        "at the rim": spot(128, 6, 3),
    }
    found = eye("found", [spot(70, 120, 4), spot(190, 120, 25)], list(planted.values()))
    bare = {key: path for key, path in found.items() if key != "ex"}
    bank = build_lesion_bank([*annotated, bare], predicted=[found], diameter=side, min_area=3)
    assert bank.counts[:5].sum() == 10
    assert (bank.eye == 5).sum() == 1
    assert bank.area[bank.eye == 5].item() == pytest.approx(np.pi * 16, rel=0.15)


@settings(max_examples=100, deadline=None)
@given(grade=st.integers(0, 4), data=st.data())
def test_rules_never_allow_a_lesion_that_the_grade_excludes(grade: int, data: Any) -> None:
    counts = {name: np.array(data.draw(st.lists(st.integers(0, 30), min_size=4, max_size=4))) for name in LESION_MASKS}
    shown = {name for name, each in counts.items() if each.sum()}
    reason = rule_violation(grade, counts)
    if not shown <= set(GRADE_LESIONS[grade]):
        assert reason
    if not reason:
        assert shown <= set(GRADE_LESIONS[grade])
        assert bool(shown) == (grade > 0)


@pytest.mark.parametrize(
    ("grade", "counts", "reason"),
    [
        (1, {"ma": [1, 0, 0, 0]}, ""),
        (2, {"ma": [9, 9, 9, 9]}, "microaneurysms only"),
        (2, {"ma": [1, 0, 0, 0], "he": [20, 20, 20, 20]}, "20 haemorrhages in every quadrant"),
        (2, {"ma": [1, 0, 0, 0], "he": [20, 20, 20, 19]}, ""),
        (3, {"ma": [1, 1, 1, 0], "he": [0, 0, 0, 2]}, ""),
        (3, {"ma": [1, 1, 0, 1], "he": [0, 1, 0, 2]}, "lacks"),
        (3, {"he": [5, 5, 5, 5], "laser": [1, 0, 0, 0]}, "shows laser"),
        (4, {"membrane": [1, 0, 0, 0]}, ""),
        (4, {}, "no lesion"),
    ],
)
def test_rules_of_the_scale(grade: int, counts: dict[str, list[int]], reason: str) -> None:
    found = rule_violation(grade, {name: np.array(each) for name, each in counts.items()})
    assert reason in found
    assert bool(reason) == bool(found)
    with pytest.raises(ValueError, match="grade must be"):
        rule_violation(5, {})


def test_command(phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--datalist", str(phantom_folder / "datalist.json"), "--diameter", "128", "--min-area", "1"]
    assert main(["model", "lesion-bank", *arguments, "--out", str(tmp_path / "deep" / "bank.npz")]) == 0
    said = capsys.readouterr().out
    assert "grade 3: " in said
    assert "he " in said
    assert len(LesionBank.load(tmp_path / "deep" / "bank.npz")) == 24


def test_tensors_of_a_bundle_are_the_bank(phantom_bank: LesionBank) -> None:
    state = phantom_bank.state()
    assert all(tensor.isfinite().all() for tensor in state.values() if tensor.is_floating_point())
    again = LesionBank.from_state(state)
    np.testing.assert_array_equal(again.counts, phantom_bank.counts)
    np.testing.assert_array_equal(again.disc, phantom_bank.disc)
    np.testing.assert_array_equal(again.pixels, phantom_bank.pixels)
    with pytest.raises(DatalistError, match="lesion bank of format"):
        LesionBank.from_state({"kind": state["kind"]})


def test_one_rule_says_what_was_annotated() -> None:
    """Masks from activation maps, then a segmenter's: whichever way they are joined, what each item has is the same."""
    predicted = {name: f"p_{name}.png" for name in ("vessel", "od", *LESION_MASKS[:4])}
    for own in ({"laser": "l.png"}, {"laser": "l.png", "ex": "ex.png"}, {"od": "od.png"}, {"membrane": "m.png"}, {}):
        item, found = {"image": "a.png", **own}, {"image": "a.png", **predicted}
        joined = combine_masks({"test": [item]}, {"test": [found]})["test"][0]
        assert joined == merge_masks(item, found)
        lesions = {"ex", "laser"} if "ex" in own else {*own, "ma", "he", "ex", "se"} - {"od"}
        assert {name for name in joined if name in LESION_MASKS} == lesions
        assert all(joined[name] == file for name, file in own.items())
    assert annotated_lesions({"vessel": "v.png", "od": "o.png"}) == frozenset()
    assert annotated_lesions({"ma": "", "membrane": ""}) == {"ma", "he", "ex", "se", "membrane"}
