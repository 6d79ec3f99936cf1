"""cross_fit and gate on phantoms: trained, gone on with, installed, calibrated, and used as the label gate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import load_datalist, write_phantoms
from monai_retina_gen.editing import GateLimits, LabelGate
from monai_retina_gen.errors import WeightsError
from monai_retina_gen.evidence.evaluation.label_agreement import load_grader
from monai_retina_gen.evidence.grading.cross_fit import FINAL, cross_fit, out_of_fold_figures
from monai_retina_gen.evidence.grading.gate_calibration import (
    GateStatistics,
    detection,
    false_rejections,
    limits_from,
    load_with_lesions,
)
from monai_retina_gen.weights import find_bundle, load_state, pinned_sha256, sha256_file

SMALL = {"image_size": 48, "backbone": "vgg16_bn", "width": 0.0625, "init_weights": "", "max_epochs": 1}
SMALL |= {"batch_size": 8, "device": "cpu"}
WEIGHTS = "models/cross_fitted.pt"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gate")
    return write_phantoms(folder, count=24, size=80, seed=3, splits=(0.5, 0.25, 0.25), grades=range(5))


@pytest.fixture(scope="module")
def fitted(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    bundle, out = tmp_path_factory.mktemp("bundles") / "tiny_grader", tmp_path_factory.mktemp("folds")
    shutil.copytree(find_bundle("retina_grader") / "configs", bundle / "configs")
    return bundle, out, cross_fit(bundle, str(phantoms), out, folds=2, overrides=SMALL, install=True)


def test_every_photograph_is_judged_once_by_a_stranger(fitted: tuple[Path, Path, Any], phantoms: Path) -> None:
    bundle, _, figures = fitted
    config = json.loads((bundle / "configs" / "cross_fitted.json").read_text())
    whole = load_datalist(phantoms)
    groups = {item["group"] for section in ("training", "validation") for item in whole[section]}
    assert set(config["network_def"]["folds"]) == groups
    assert figures["n"] == len(groups) == 18
    assert figures["cross_entropy"][1] <= figures["cross_entropy"][0] + 1e-6
    assert pinned_sha256(bundle, WEIGHTS) == sha256_file(bundle / WEIGHTS)
    judge = load_grader(f"{bundle}:cross_fitted")
    assert judge.cross_fitted
    image = torch.rand(1, 3, 48, 48)
    alone = [torch.softmax(g(image) / judge.network.temperature, 1) for g in judge.network.graders]  # type: ignore[union-attr,operator]
    group, fold = next(iter(config["network_def"]["folds"].items()))
    torch.testing.assert_close(judge.probabilities(image, [group]), alone[fold])
    torch.testing.assert_close(judge.probabilities(image), torch.stack(alone).mean(0))


def test_each_grader_goes_on_from_its_own_fold_with_degraded_photographs(
    fitted: tuple[Path, Path, Any], phantoms: Path, tmp_path: Path
) -> None:
    bundle, out, _ = fitted
    further = SMALL | {"degraded": 0.9, "learning_rate": 1e-9}
    figures = cross_fit(bundle, str(phantoms), tmp_path / "more", folds=2, overrides=further, start=out)
    assert figures["n"] == 18
    for fold in (0, 1):
        before, after = (load_state(folder / f"fold{fold}" / FINAL) for folder in (out, tmp_path / "more"))
        weights = [name for name in before if name.endswith("weight")]
        assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in weights)
    strangers = write_phantoms(
        tmp_path / "strangers", count=20, size=80, seed=9, splits=(0.6, 0.2, 0.2), grades=range(5)
    )
    with pytest.raises(ValueError, match="with these photographs and 2 folds; graders of others may know"):
        cross_fit(bundle, str(strangers), tmp_path / "b", folds=2, overrides=SMALL, start=out)
    shutil.copytree(out, tmp_path / "half", ignore=lambda folder, names: [FINAL] if folder.endswith("fold1") else [])
    with pytest.raises(ValueError, match=r"fold1.final\.pt is missing"):
        cross_fit(bundle, str(phantoms), tmp_path / "c", folds=2, overrides=SMALL, start=tmp_path / "half")
    assert not (tmp_path / "b" / "settings.json").exists()


def test_degraded_photographs_are_blurred_and_no_others() -> None:
    parser = ConfigParser(json.loads((find_bundle("retina_grader") / "configs" / "train.json").read_text("utf-8")))
    parser["load_transforms"] = []
    parser["degraded"] = 1.0
    steps = parser.get_parsed_content("train#preprocessing")
    steps.set_random_state(0)
    fine = torch.rand(3, 64, 64)
    seen = [steps({"image": fine, "grade": 1})["image"] for _ in range(4)]
    assert all(type(image) is torch.Tensor and image.shape == fine.shape for image in seen)
    assert all(float(image.diff().abs().mean()) < 0.5 * float(fine.diff().abs().mean()) for image in seen)
    assert not parser.get_parsed_content("validate#preprocessing").transforms


def test_finished_folds_are_not_trained_again(fitted: tuple[Path, Path, Any], phantoms: Path) -> None:
    bundle, out, figures = fitted
    before = [(out / f"fold{i}" / FINAL).stat().st_mtime_ns for i in (0, 1)]
    again = cross_fit(bundle, str(phantoms), out, folds=2, overrides=SMALL)
    assert [(out / f"fold{i}" / FINAL).stat().st_mtime_ns for i in (0, 1)] == before
    assert again == figures


def test_a_bundle_is_changed_only_where_that_is_asked_for(fitted: tuple[Path, Path, Any], phantoms: Path) -> None:
    bundle, out, figures = fitted
    before = {path: sha256_file(path) for path in bundle.rglob("*") if path.is_file()}
    assert cross_fit(bundle, str(phantoms), out, folds=2, overrides=SMALL) == figures
    assert {path: sha256_file(path) for path in bundle.rglob("*") if path.is_file()} == before
    own, image = load_grader(f"{out / bundle.name}:cross_fitted"), torch.rand(2, 3, 48, 48)
    assert own.sha256 == sha256_file(bundle / WEIGHTS)
    torch.testing.assert_close(own.probabilities(image), load_grader(f"{bundle}:cross_fitted").probabilities(image))


def test_other_photographs_folds_or_settings_are_refused(
    fitted: tuple[Path, Path, Any], phantoms: Path, tmp_path: Path
) -> None:
    bundle, out, _ = fitted
    others = write_phantoms(tmp_path / "others", count=24, size=80, seed=4, splits=(0.5, 0.25, 0.25), grades=range(5))
    init = tmp_path / "init.pt"
    init.write_bytes(b"weights")
    for datalist, folds, overrides, named in (
        (others, 2, SMALL, r"data_sha256 \(training, validation\)"),
        (phantoms, 3, SMALL, "folds: 2 there, 3 now"),
        (phantoms, 2, SMALL | {"max_epochs": 2}, r"overrides \(max_epochs\)"),
        (phantoms, 2, SMALL | {"init_weights": str(init)}, r"files \(init_weights\), overrides"),
    ):
        before = {path: sha256_file(path) for path in out.rglob("*") if path.is_file()}
        with pytest.raises(ValueError, match=rf"begun with other settings \({named}"):
            cross_fit(bundle, str(datalist), out, folds=folds, overrides=overrides)
        assert {path: sha256_file(path) for path in out.rglob("*") if path.is_file()} == before


def test_a_folder_that_cannot_be_written_is_seen_before_training(
    fitted: tuple[Path, Path, Any], phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*arguments: Any) -> Any:
        raise AssertionError("trained first")

    monkeypatch.setattr("monai_retina_gen.evidence.grading.cross_fit.train_fold", trained)
    bundle = tmp_path / "read_only"
    shutil.copytree(fitted[0] / "configs", bundle / "configs")
    (bundle / "models").write_text("a file where a folder is wanted")
    with pytest.raises(PermissionError, match="models: results cannot be written there"):
        cross_fit(bundle, str(phantoms), tmp_path / "out", folds=2, overrides=SMALL, install=True)
    assert not (tmp_path / "out").exists()


def test_gate_command(fitted: tuple[Path, Path, Any], phantoms: Path, tmp_path: Path, capsys: Any) -> None:
    bundle = fitted[0]
    graders = f"{bundle}:cross_fitted"
    with pytest.raises(WeightsError, match="no limits under `gate`"):
        LabelGate(graders=graders).check(torch.rand(1, 3, 48, 48), [1])
    words = [
        "model",
        "gate",
        "--datalist",
        str(phantoms),
        "--graders",
        graders,
        "--segmenter",
        "none",
        "--image-size",
        "64",
    ]
    assert main([*words, "--edits", "6", "--false-rejection", "0.3", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "gate.json").read_text())
    assert report["out_of_fold"]["n"] == 18
    assert report["test"]["n"] == 6
    shares = report["out_of_fold"]["false_rejection"]
    assert all(share["rate"] <= 0.3 for share in shares.values())
    assert shares["harmless changes"]["n"] >= 6
    own = "photographs at 48 pixels"  # the graders' size, beside those at which images are made
    assert {own, *(f"photographs at {side} pixels" for side in (32, 64, 128, 256))} < set(shares)
    planted = [name for name in report["out_of_fold"]["detection"] if "lesions" in name]
    assert len(planted) == 4
    assert "out_of_fold | detection" in capsys.readouterr().out
    gate = LabelGate(graders=graders, segmenter=None)
    verdict = gate.check(torch.rand(2, 3, 48, 48), [1, 4])
    assert "cross_fitted" in verdict.judge


def statistics(seed: int, n: int = 200) -> GateStatistics:
    """Graders that are right with some noise."""
    generator = torch.Generator().manual_seed(seed)
    grades = torch.randint(0, 5, (n,), generator=generator)
    logits = torch.randn(n, 5, generator=generator) + 3 * torch.eye(5)[grades]
    drops = torch.rand(n, 2, generator=generator).tolist()
    harmless = [{"probability": 0.5, "probability_drop": a, "grade_shift": b} for a, b in drops]
    planted = {"kind": [(0, {"probability": 0.1, "probability_drop": 2.0, "grade_shift": 0.0})] * 4}
    return GateStatistics(grades.tolist(), {64: list(torch.softmax(logits, 1))}, harmless, planted)


def test_rates_hold_on_other_photographs_of_the_same_kind() -> None:
    limits = limits_from(statistics(0), 0.1)
    assert isinstance(limits, GateLimits)
    fresh = false_rejections(statistics(1, 4000), limits)
    assert fresh["photographs at 64 pixels"]["rate"] == pytest.approx(0.1, abs=0.04)
    assert fresh["harmless changes"]["rate"] == pytest.approx(0.1, abs=0.05)
    found = detection(statistics(1, 4000), limits)
    assert found["label wrong by 1, at 64 pixels"]["rate"] > 0.7
    assert found["kind"]["rate"] == 1


def test_a_gate_that_accepts_everything_looks_bad() -> None:
    blind = statistics(0)
    blind.probabilities = {64: [torch.full((5,), 0.2)] * 200}
    found = detection(blind, limits_from(blind, 0.1))
    assert found["label wrong by 4, at 64 pixels"]["rate"] == 0


def test_masks_of_lesions_are_joined(phantoms: Path) -> None:
    item = next(i for i in load_datalist(phantoms)["training"] if i["grade"] == 3)
    image, mask = load_with_lesions(item, 64)
    assert image.shape == (3, 64, 64)
    assert 0 < float(mask.mean()) < 0.5
    bare = {key: item[key] for key in ("image", "grade")}
    assert not load_with_lesions(bare, 64)[1].any()


def test_figures_of_a_perfect_grader() -> None:
    figures = out_of_fold_figures(8 * torch.eye(5).repeat(6, 1), torch.arange(5).repeat(6), 2.0)
    assert figures["accuracy"]["value"] == 1
    assert figures["calibration_error"][0] < figures["calibration_error"][1]
