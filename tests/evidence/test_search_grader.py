"""search-grader on phantoms: settings side by side, the best trained again, a time limit that keeps what is done."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import load_datalist, write_phantoms
from monai_retina_gen.evidence.grading.grader_search import (
    GraderSearch,
    Training,
    _read_cached,
    cache_photographs,
    out_of_fold,
    run_training,
)
from monai_retina_gen.networks import FundusGrader
from monai_retina_gen.weights import find_bundle, load_parts, load_weights, save_state

NETWORK = {"backbone": "vgg16_bn", "width": 0.0625}
SMALL = {**NETWORK, "init_weights": "", "image_size": 32, "max_epochs": 1, "batch_size": 8, "device": "cpu"}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    return write_phantoms(folder, count=20, size=64, seed=5, splits=(0.6, 0.2, 0.2), grades=range(5))


def test_one_training_grades_what_it_never_saw(phantoms: Path, tmp_path: Path) -> None:
    whole, bundle, settings = load_datalist(phantoms), str(find_bundle("retina_grader")), dict(SMALL)
    settings |= {"datalist": str(phantoms), "dataset_dir": None}
    items = [*whole["training"], *whole["validation"]]
    file = str(tmp_path / "cache.pt")
    cache_photographs(bundle, items, settings, file)
    outcome = run_training(bundle, Training("one", settings, fold=1), str(tmp_path), (file,), 2)
    assert 0 < len(outcome["held_out"]) < len(items)
    assert set(outcome["held_out"]) <= {item["group"] for item in items}
    network = load_weights(FundusGrader(**NETWORK, dropout=0.2), tmp_path / "one.pt").eval()
    assert all(value.isfinite().all() for value in network.state_dict().values())
    assert all(len(row["logits"]) == 5 for row in outcome["held_out"].values())


def test_cached_photographs_reach_the_processes_of_a_loader(tmp_path: Path) -> None:
    torch.save({"names": ["a"], "images": torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)}, tmp_path / "x.pt")
    cached = _read_cached((str(tmp_path / "x.pt"),))
    item = pickle.loads(pickle.dumps(cached))({"image": "a", "grade": 2})
    assert item["image"].eq(1).all()
    assert item["grade"] == 2


def test_the_command(phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "tiny_grader"
    shutil.copytree(find_bundle("retina_grader") / "configs", bundle / "configs")
    settings = {"a": SMALL, "b": {**SMALL, "ordinal": True}}
    (bundle / "configs" / "search.json").write_text(json.dumps({"settings": settings}))
    words = [
        "model",
        "search-grader",
        "--bundle",
        str(bundle),
        "--datalist",
        str(phantoms),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--folds", "2", "--seeds", "1"]) == 0
    report = json.loads((tmp_path / "out" / "search.json").read_text())
    assert set(report["out_of_fold"]) == {"a", "b"}
    assert all(figures["n"] == 16 for figures in report["out_of_fold"].values())
    assert len(report["trainings"]) == 5
    best = max(report["out_of_fold"], key=lambda name: report["out_of_fold"][name]["kappa"])
    assert report["best"] == best
    assert f"best: {best}" in capsys.readouterr().out
    state = load_parts(sorted((tmp_path / "out").glob("graders*.pt")))
    assert {name.split(".")[0] for name in state} == {"fold0", "fold1", "seed0"}
    grader = FundusGrader(**NETWORK, ordinal=bool(settings[best].get("ordinal")))
    grader.load_state_dict({k.removeprefix("seed0."): v for k, v in state.items() if k.startswith("seed0.")})


def test_only_whole_settings_count_and_the_best_is_kept(phantoms: Path, tmp_path: Path) -> None:
    settings = {"weak": {}, "strong": {}, "half done": {}}
    search = GraderSearch("retina_grader", str(phantoms), tmp_path, settings=settings, folds=2, seeds=1)
    search.scratch = tmp_path

    def held_out(grades: range, right: bool) -> dict[str, dict[str, object]]:
        return {
            f"p{g}": {"grade": g, "logits": [float(k == (g if right else 4 - g)) for k in range(5)]} for g in grades
        }

    for name, right in (("weak", False), ("strong", True), ("half done", True)):
        for fold in range(1 if name == "half done" else 2):
            save_state(FundusGrader(**NETWORK).state_dict(), tmp_path / f"{name} fold {fold}.pt", half=True)
            grades = range(0, 3) if fold == 0 else range(3, 5)
            search.done[f"{name} fold {fold}"] = {"held_out": held_out(grades, right), "seconds": 1.0}
    assert search.best() == "strong"
    assert search.figures()["strong"] == {"n": 5, "kappa": 1.0, "accuracy": 1.0, "sensitivity": [1.0] * 5}
    assert search.figures()["weak"]["kappa"] == pytest.approx(-1.0)
    assert "half done" not in search.figures()
    search.write()
    assert json.loads((tmp_path / "search.json").read_text())["best"] == "strong"
    assert {name.split(".")[0] for name in load_parts(sorted(tmp_path.glob("graders*.pt")))} == {"fold0", "fold1"}
    assert out_of_fold([held_out(range(5), True)])["n"] == 5
