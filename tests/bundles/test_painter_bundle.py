"""The bundle retina_lesion_painter on phantoms: properties, training, resuming, evaluation and inference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from fresh_process import run_bundle
from monai.bundle import ConfigParser, ConfigWorkflow, run, verify_metadata, verify_net_in_out

from monai_retina_gen.data import load_datalist, read_manifest
from monai_retina_gen.networks import LesionPainter
from monai_retina_gen.weights import build_from_bundle, latest_checkpoint, load_state, save_state
from monai_retina_gen.zoo.checks_static import SCHEMA

TINY = {"image_size": 64, "channels": [4, 8], "perceptual_network": "untrained", "batch_size": 4}


@pytest.fixture
def bundle(bundles_dir: Path) -> Path:
    return bundles_dir / "retina_lesion_painter"


def test_metadata_and_network(bundle: Path) -> None:
    configs = bundle / "configs"
    verify_metadata(meta_file=str(configs / "metadata.json"), filepath=str(SCHEMA))
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        n=2,
        device="cpu",
    )
    trained, shipped = (ConfigParser.load_config_file(configs / f"{name}.json") for name in ("train", "inference"))
    for key in ("network_def", "channels", "feather"):
        assert trained[key] == shipped[key], key


@pytest.mark.parametrize("workflow", ["train", "inference"])
def test_required_properties(bundle: Path, workflow: str, phantom_folder: Path, tmp_path: Path) -> None:
    configs = bundle / "configs"
    save_state(build_from_bundle(bundle, "network_def").state_dict(), tmp_path / "model.pt")
    found = ConfigWorkflow(
        workflow_type=workflow,
        config_file=str(configs / f"{workflow}.json"),
        meta_file=str(configs / "metadata.json"),
        logging_file=str(configs / "logging.conf"),
        bundle_root=str(bundle),
        datalist=str(phantom_folder / "datalist.json"),
        dataset_dir=str(phantom_folder),
        output_dir=str(tmp_path),
        **({"checkpoint": str(tmp_path / "model.pt")} if workflow == "inference" else TINY),
    )
    found.initialize()
    assert not found.check_properties()


@pytest.mark.slow
def test_train_resume_evaluate_and_infer(bundle: Path, phantom_folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / bundle.name
    shutil.copytree(bundle, copied, ignore=shutil.ignore_patterns("output", "training", "models"))
    own = ["--datalist", str(phantom_folder / "datalist.json"), "--dataset_dir", str(phantom_folder)]
    own += ["--device", "cpu", "--image_size", "64", "--channels", "[4,8]"]
    train = ["--config_file", "configs/train.json", *own, "--perceptual_network", "untrained", "--batch_size", "8"]
    run_bundle(copied, *train, "--max_epochs", "1")
    run_bundle(copied, *train, "--max_epochs", "2", "--resume", "true", "--val_interval", "1")
    state = torch.load(latest_checkpoint(copied / "output"), weights_only=True)
    assert state["trainer"]["iteration"] == 2 * 3  # 24 training phantoms in batches of 8
    assert {name.split(".")[0] for name in load_state(copied / "output" / "training_state.pt")} == {
        "discriminator",
        "ema",
    }
    run_bundle(
        copied, *train, "--max_epochs", "1", "--init_training", "output/training_state.pt", "--output_dir", "more"
    )
    best = ["--checkpoint", "output/model.pt"]
    more = [*own, "--perceptual_network", "untrained", *best]
    run_bundle(copied, "--config_file", "['configs/train.json','configs/evaluate.json']", *more)
    figures = json.loads((copied / "output" / "evaluate_validation" / "metrics.json").read_text())
    assert figures["val_hole_error"] > 0
    assert "contrast_ex" in figures
    run_bundle(copied, "--config_file", "configs/inference.json", *own, *best)
    entries = read_manifest(copied / "output" / "painted")
    assert len(entries) == 8
    assert entries[0]["record"]["options"] == {"change": "remove"}


@pytest.mark.slow
def test_a_time_limit_ends_the_training_and_keeps_what_was_learned(
    bundle: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    own = ["--datalist", str(phantom_folder / "datalist.json"), "--dataset_dir", str(phantom_folder)]
    own += [part for key, value in TINY.items() for part in (f"--{key}", str(value).replace(" ", ""))]
    limits = ["--max_epochs", "100000", "--time_limit", "2", "--output_dir", str(tmp_path), "--device", "cpu"]
    run_bundle(bundle, "--config_file", "configs/train.json", *own, *limits)
    assert load_state(tmp_path / "model.pt")
    assert list((tmp_path / "samples").glob("painting_*.png"))


def test_records_name_photographs_of_equal_file_names_apart(bundle: Path, phantom_folder: Path, tmp_path: Path) -> None:
    named = ("left/1.png", "right/1.png")
    for name, item in zip(named, load_datalist(phantom_folder / "datalist.json")["training"], strict=False):
        (tmp_path / name).parent.mkdir()
        shutil.copy(item["image"], tmp_path / name)
    save_state(LesionPainter(channels=(4, 8)).state_dict(), tmp_path / "model.pt")
    run(
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
        datalist={"validation": [{"image": str(tmp_path / name)} for name in named]},
        checkpoint=str(tmp_path / "model.pt"),
        channels=[4, 8],
        image_size=64,
        output_dir=str(tmp_path / "painted"),
        device="cpu",
    )
    assert [entry["record"]["source"] for entry in read_manifest(tmp_path / "painted")] == ["left/1", "right/1"]
