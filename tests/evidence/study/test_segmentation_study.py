"""The segmentation study: its figures against the metric and planted differences, and the whole of it on phantoms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import load_datalist
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.study.segmentation import SegmentationStudyConfig, run_segmentation_study
from monai_retina_gen.evidence.study.segmentation.figures import analyse_curves
from monai_retina_gen.evidence.study.segmentation.smoke import smoke_synthesizer
from monai_retina_gen.evidence.study.segmentation.training import Pairs, TrainingPairs, load_pairs
from monai_retina_gen.metrics import curve_counts


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


def test_draws_of_the_training_pairs() -> None:
    real = Pairs(torch.zeros(4, 3, 8, 8).byte(), torch.zeros(4, 1, 8, 8).byte(), list("abcd"))
    made = Pairs(torch.full((2, 3, 8, 8), 255).byte(), torch.full((2, 1, 8, 8), 254).byte(), list("ef"))
    torch.manual_seed(0)
    data = TrainingPairs(real, made, 0.25, classic=False)
    drawn = [data[i % 4] for i in range(400)]
    share = np.mean([float(item["image"].mean()) for item in drawn])
    assert share == pytest.approx(0.25, abs=0.06)
    assert all(torch.equal(item["image"][:1] > 0.5, item["label"] > 0.5) for item in drawn)  # pairs stay pairs
    bright = Pairs(torch.arange(3 * 64).view(1, 3, 8, 8).byte(), torch.arange(64).view(1, 1, 8, 8).byte(), ["a"])
    turned = TrainingPairs(bright, None, 0.5, classic=True)
    turned.colour = torch.nn.Identity()  # type: ignore[assignment]
    for _ in range(8):
        item = turned[0]
        torch.testing.assert_close(item["image"][0] * 255, item["label"][0] * 254)


def settings(folder: Path, out: Path, **options: Any) -> SegmentationStudyConfig:
    small = {"seeds": 2, "image_size": 56, "steps": 2, "batch_size": 2, "channels": (4, 4, 8), "bank_size": 2}
    return SegmentationStudyConfig(
        datalist=str(folder / "datalist.json"), out=str(out), grades=(3,), **{**small, **options}
    )


def test_whole_study_and_going_on(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    data, tmp_path = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("study")
    shutil.copytree(phantom_folder, data, dirs_exist_ok=True)
    config, generator = settings(data, tmp_path), smoke_synthesizer()
    study = run_segmentation_study(config, generator)
    assert set(study["arms"]) == set(config.arms)
    assert study["words"].startswith("synthesize against classic, mean PR-AUC of 8 test photographs")
    runs = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert len(runs) == 8
    (tmp_path / "runs" / "none--seed1.npz").unlink()
    assert run_segmentation_study(config, generator) == study  # the lost run gives the same figures again
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert {name for name in runs if runs[name] != again[name]} == {"none--seed1.npz"}
    items = load_datalist(tmp_path / "pairs" / "synthesize" / "datalist.json")["training"]
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


def test_errors(phantom_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="need a generator"):
        run_segmentation_study(settings(phantom_folder, tmp_path))
    with pytest.raises(ValueError, match="told by their blur"):
        run_segmentation_study(settings(phantom_folder, tmp_path, image_size=128), smoke_synthesizer())
    with pytest.raises(ValueError, match="a multiple of 4"):
        settings(phantom_folder, tmp_path, image_size=30)
    with pytest.raises(DatalistError, match="no photograph with a mask"):
        load_pairs([{"image": "a.png"}], settings(phantom_folder, tmp_path), "training")


@pytest.mark.slow
def test_smoke_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--task", "segmentation", "--preset", "smoke", "--out", str(tmp_path)]) == 0
    assert "| synthesize |" in capsys.readouterr().out
    assert json.loads((tmp_path / "study.json").read_text())["n_test"] == 8
