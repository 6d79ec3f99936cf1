"""The segmentation study: its figures against the metric and planted differences, and the whole of it on phantoms."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from painting_parts import SIDE, painting_generator
from stand_in_device import stand_in_device

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import SECTIONS, LesionBank, build_lesion_bank, load_datalist, unit_of, write_phantoms
from monai_retina_gen.errors import DatalistError, UnsupportedModeError
from monai_retina_gen.evidence.study.config import smoke_synthesizer
from monai_retina_gen.evidence.study.paintings import painting, with_lesions
from monai_retina_gen.evidence.study.segmentation import SegmentationStudyConfig, run_segmentation_study
from monai_retina_gen.evidence.study.segmentation.paintings import (
    healthy_pairs,
    painted_canvases,
    painted_eyes,
)
from monai_retina_gen.evidence.study.segmentation.study import EACH, _parts, analyse_curves
from monai_retina_gen.evidence.study.segmentation.training import (
    Pairs,
    crop_batches,
    judge_segmenter,
    load_pairs,
    train_segmenter,
)
from monai_retina_gen.metrics import average_precision, curve_counts


def curves(quality: float, seeds: int = 3, photographs: int = 12) -> np.ndarray:
    """Counts of predictions that are right in so many pixels; the photographs are the same for every quality."""
    found = []
    for seed in range(seeds):
        rows = []
        for photograph in range(photographs):
            random = torch.Generator().manual_seed(photograph)
            target = (torch.rand(400, generator=random) < 0.2).float()
            noise = torch.Generator().manual_seed(1000 * (seed + 1) + photograph)
            right = torch.rand(400, generator=noise) < quality
            guess = torch.where(right, target, torch.rand(400, generator=noise)) * 0.8 + 0.1
            rows.append(curve_counts(guess, target)[None])
        found.append(torch.stack(rows))
    counts: np.ndarray = torch.stack(found).int().numpy()
    return counts


def test_a_planted_gain_is_found_and_equal_arms_are_not() -> None:
    names = [f"eye{i}" for i in range(12)]
    result = analyse_curves(
        {"classic": curves(0.5), "synthesize": curves(0.8), "own-masks": curves(0.5)}, names, ["ex"]
    )
    gain = result["differences"]["synthesize"]["ex"]
    assert gain["low"] > 0
    assert gain["p_holm"] < 0.05
    assert gain["value"] == pytest.approx(
        result["arms"]["synthesize"]["ex"]["value"] - result["arms"]["classic"]["ex"]["value"]
    )
    same = result["differences"]["own-masks"]["ex"]
    assert same["value"] == same["low"] == same["high"] == 0
    assert same["p_holm"] == 1.0


def test_a_structure_that_never_occurs_is_undefined() -> None:
    empty = curves(0.5)
    empty[:, :, :, 1] = 0
    both = np.concatenate([curves(0.5), empty], 2)
    result = analyse_curves({"classic": both, "none": both}, ["a"] * 6 + ["b"] * 6, ["ex", "se"])
    assert result["arms"]["none"]["se"]["value"] is None
    assert result["arms"]["none"]["mean"]["value"] == pytest.approx(result["arms"]["none"]["ex"]["value"])


def test_each_photograph_counts_once_whatever_it_shows() -> None:
    found = curves(0.5, seeds=2)
    found[:, 3, :, 1] = 0  # nothing to be found there
    result = analyse_curves({"classic": found, "edit": curves(0.8, seeds=2)}, [f"eye{i}" for i in range(12)], ["ex"])
    areas = average_precision(torch.from_numpy(found))[..., 0]
    shown = [row for row in range(12) if row != 3]
    assert result["arms"]["classic"][EACH]["value"] == pytest.approx(float(areas[:, shown].mean()))
    assert result["differences"]["edit"][EACH]["value"] > 0


def test_made_pairs_have_their_share_of_the_crops(tmp_path: Path) -> None:
    real = Pairs(torch.zeros(4, 3, 8, 8).byte(), torch.zeros(4, 1, 8, 8).byte(), list("abcd"))
    made = Pairs(torch.full((2, 3, 8, 8), 255).byte(), torch.full((2, 1, 8, 8), 254).byte(), list("ef"))
    config = SegmentationStudyConfig(
        datalist="", out="", structures=("ex",), image_size=8, crop_size=8, batch_size=400, share=0.25
    )
    drawn = next(iter(crop_batches(real, made, config, 0, augment=False)))
    assert float(drawn["image"].mean()) == pytest.approx(0.25, abs=0.06)
    assert torch.equal(drawn["image"][:, :1] > 0.5, drawn["label"] > 0.5)  # pairs stay pairs
    alone = next(iter(crop_batches(real, None, config, 0, augment=False)))
    assert alone["image"].max() == 0


def settings(folder: Path, out: Path, **options: Any) -> SegmentationStudyConfig:
    small: dict[str, Any] = {"seeds": 2, "image_size": 56, "crop_size": 48, "steps": 2, "batch_size": 2, "bank_size": 2}
    small |= {"pretrained": False, "arms": ("classic", "own-masks", "synthesize"), "grades": (3,)}
    return SegmentationStudyConfig(datalist=str(folder / "datalist.json"), out=str(out), **{**small, **options})


def test_whole_study_and_going_on(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    data, tmp_path = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("study")
    shutil.copytree(phantom_folder, data, dirs_exist_ok=True)
    config, generator = settings(data, tmp_path), smoke_synthesizer()
    study = run_segmentation_study(config, generator)
    assert set(study["arms"]) == set(config.arms)
    assert study["words"].startswith("synthesize against classic, mean PR-AUC of 8 test photographs")
    runs = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert len(runs) == 6
    (tmp_path / "runs" / "classic--seed1--fold0.npz").unlink()
    assert run_segmentation_study(config, generator) == study  # the lost run gives the same figures again
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert {name for name in runs if runs[name] != again[name]} == {"classic--seed1--fold0.npz"}
    items = load_datalist(tmp_path / "pairs" / "fold0" / "synthesize" / "datalist.json")["training"]
    assert {"he", "vessel", "fov"} <= set(items[0])
    moved = tmp_path_factory.mktemp("moved")
    shutil.copytree(data, moved, dirs_exist_ok=True)
    assert run_segmentation_study(settings(moved, tmp_path), generator)["arms"] == study["arms"]  # wherever they lie
    with pytest.raises(ValueError, match="other settings \\(steps: "):
        run_segmentation_study(settings(data, tmp_path, steps=3), generator)
    trained_on = smoke_synthesizer()
    with torch.no_grad():
        next(trained_on.network.parameters()).add_(0.1)
    with pytest.raises(ValueError, match=r"other settings \(generator \(weights_sha256\)\)"):
        run_segmentation_study(config, trained_on)
    item = load_datalist(config.datalist)["test"][0]
    shutil.copy(item["vessel"], item["ex"])  # the same names, another content
    with pytest.raises(ValueError, match=r"other settings \(data_sha256 \(test\)\)"):
        run_segmentation_study(config, generator)


@pytest.fixture(scope="module")
def graded_phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graded")
    write_phantoms(folder, count=16, size=SIDE, seed=4, splits=(0.6, 0.1, 0.3), grades=[0, 2])
    items = json.loads((folder / "datalist.json").read_text())
    for item in [item for section in SECTIONS for item in items[section] if item["grade"] == 0]:
        for lesion in ("ma", "he", "ex", "se"):
            item.pop(lesion, None)  # nobody annotates healthy eyes
    (folder / "datalist.json").write_text(json.dumps(items))
    return folder


def test_folds_judge_every_photograph_by_a_stranger(graded_phantoms: Path, tmp_path: Path) -> None:
    config = settings(graded_phantoms, tmp_path, folds=3)
    datalist = load_datalist(config.datalist)
    names = {item["image"] for section in SECTIONS for item in datalist[section] if "ma" in item}
    parts = _parts(config, datalist)
    assert sorted(item["image"] for _, judged in parts for item in judged) == sorted(names)
    for training, judged in parts:
        units = {unit_of(item) for item in training}
        assert units.isdisjoint({unit_of(item) for item in judged})
        shown = [item for item in training if "ma" not in item]
        assert all(item["grade"] == 0 and item in datalist["training"] for item in shown)


def test_painted_pairs(graded_phantoms: Path, tmp_path: Path, phantom_bank: LesionBank) -> None:
    config = settings(graded_phantoms, tmp_path, image_size=SIDE, grades=(2, 4), bank_size=4)
    items = load_datalist(config.datalist)["training"]
    annotated, healthy = ([item for item in items if ("ma" in item) is known] for known in (True, False))
    painter = with_lesions(painting_generator(phantom_bank), build_lesion_bank(annotated))
    assert {Path(f"{name}.png").stem for name in painter.composer().bank.name} <= {  # type: ignore[misc]
        Path(item["image"]).stem for item in annotated
    }
    edits, real = painted_eyes(painter, annotated, config), load_pairs(annotated, config, "real")
    assert len(edits) == 4  # of grade 2; nobody has 4
    added = 0
    for image, label in zip(edits.image, edits.label, strict=True):
        row = int((real.image.float() - image.float()).abs().mean((1, 2, 3)).argmin())
        new = (label > 127) & (real.label[row] <= 127)
        added += int(new.sum())
        assert (label >= real.label[row]).all()  # its own stay
        changed = (image != real.image[row]).any(0)
        assert changed[new.any(0)].all()
    assert added > 0
    canvases = painted_canvases(painter, healthy, config)
    plain = healthy_pairs(healthy, config)
    assert 0 < len(canvases) <= 4  # some are refused, and none becomes a 4
    assert (canvases.label > 127).any()
    assert plain.label.max() == 0
    assert len(plain) == len(healthy)
    with pytest.raises(DatalistError, match="no training photograph of grade 0"):
        healthy_pairs([], config)
    with pytest.raises(DatalistError, match=r"canvas: .* leave the arm out"):  # of these grades there are none
        painted_canvases(painter, healthy, replace(config, grades=(4,)))


def test_painted_trained_and_judged_on_a_device(
    graded_phantoms: Path, tmp_path: Path, phantom_bank: LesionBank
) -> None:
    config = settings(graded_phantoms, tmp_path, image_size=SIDE, grades=(2,), device="meta")
    items = load_datalist(config.datalist)["training"]
    annotated = [item for item in items if "ma" in item]
    real = load_pairs(annotated, config, "real")
    with stand_in_device():
        painter = with_lesions(painting_generator(phantom_bank).to("meta"), build_lesion_bank(annotated))
        made = painted_eyes(painter, annotated, config)
        assert made.image.device.type == "cpu"
        data = crop_batches(real, made, config, 0, augment=True)
        counts = judge_segmenter(train_segmenter(data, config, 0), real, config)
    assert counts.sum() == len(real) * 4 * SIDE**2


def test_a_study_of_paintings_by_several_processes(
    graded_phantoms: Path, tmp_path: Path, phantom_bank: LesionBank
) -> None:
    arms = ("classic", "healthy", "edit", "canvas")
    options: dict[str, Any] = {"image_size": SIDE, "grades": (2,), "folds": 2, "steps": 1, "seeds": 1, "arms": arms}
    config, generator = settings(graded_phantoms, tmp_path, **options), painting_generator(phantom_bank)
    assert run_segmentation_study(config, generator, only_folds=[1]) == {}
    study = run_segmentation_study(config, generator)
    assert set(study["differences"]) == {"healthy", "edit", "canvas"}
    assert study["test_section"]["n"] == 3
    assert "official_test" not in study
    assert study["canvas_over_healthy"]["mean"]["seeds"] == 1
    assert "edit against classic" in study["words"]
    assert "canvas against classic" in study["words"]
    grown = settings(graded_phantoms, tmp_path, **{**options, "seeds": 2})
    assert run_segmentation_study(grown, generator, only_folds=[]) == {}  # a second seed may follow


def test_errors(phantom_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="need a generator"):
        run_segmentation_study(settings(phantom_folder, tmp_path))
    with pytest.raises(ValueError, match="told by their blur"):
        run_segmentation_study(settings(phantom_folder, tmp_path, image_size=128), smoke_synthesizer())
    with pytest.raises(UnsupportedModeError, match="no mode 'edit'"):
        run_segmentation_study(settings(phantom_folder, tmp_path, arms=("canvas",)), smoke_synthesizer())
    with pytest.raises(ValueError, match="paints no photographs"):
        painting(smoke_synthesizer())
    with pytest.raises(ValueError, match="an even number up to 30"):
        settings(phantom_folder, tmp_path, image_size=30)
    with pytest.raises(ValueError, match="0 or a number from 2"):
        settings(phantom_folder, tmp_path, folds=1)
    with pytest.raises(DatalistError, match="no photograph with a mask"):
        load_pairs([{"image": "a.png"}], settings(phantom_folder, tmp_path), "training")


@pytest.mark.slow
def test_smoke_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--task", "segmentation", "--preset", "smoke", "--out", str(tmp_path)]) == 0
    assert "| synthesize |" in capsys.readouterr().out
    assert json.loads((tmp_path / "study.json").read_text())["n_test"] == 8
