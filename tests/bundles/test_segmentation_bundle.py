"""The bundle retina_lesion_segmentation on phantoms: properties, training, resuming, evaluation and inference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from fresh_process import run_bundle
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata, verify_net_in_out

import monai_retina_gen
from monai_retina_gen.data import write_phantoms
from monai_retina_gen.weights import build_from_bundle, latest_checkpoint, save_state

SCHEMA = Path(monai_retina_gen.__file__).parent / "zoo" / "schemas" / "meta_schema_20240725.json"


@pytest.fixture
def bundle(bundles_dir: Path) -> Path:
    return bundles_dir / "retina_lesion_segmentation"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked")
    return write_phantoms(folder, count=10, size=64, seed=3, splits=(0.6, 0.2, 0.2), grades=[3, 4])


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
    network = build_from_bundle(bundle, "network_def")  # nothing in it needs trust
    assert sum(p.numel() for p in network.parameters()) * 2 < 10e6
    config = ConfigParser.load_config_file(configs / "train.json")
    trained = json.dumps([config[key] for key in ("network_def", "structures", "channels")])
    shipped = ConfigParser.load_config_file(configs / "inference.json")
    assert trained == json.dumps([shipped[key] for key in ("network_def", "structures", "channels")])


@pytest.mark.parametrize("workflow", ["train", "inference"])
def test_required_properties(bundle: Path, workflow: str, phantoms: Path, tmp_path: Path) -> None:
    configs = bundle / "configs"
    save_state(build_from_bundle(bundle, "network_def").state_dict(), tmp_path / "model.pt")
    found = ConfigWorkflow(
        workflow_type=workflow,
        config_file=str(configs / f"{workflow}.json"),
        meta_file=str(configs / "metadata.json"),
        logging_file=str(configs / "logging.conf"),
        bundle_root=str(bundle),
        datalist=str(phantoms),
        dataset_dir=str(phantoms.parent),
        output_dir=str(tmp_path),
        image_size=64,
        **({"checkpoint": str(tmp_path / "model.pt")} if workflow == "inference" else {}),
    )
    found.initialize()
    assert not found.check_properties()


def test_photographs_are_kept_in_memory_as_bytes_and_once(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    parser = ConfigParser(ConfigParser.load_config_file(bundle / "configs" / "train.json"))
    own = {
        "datalist": [str(phantoms), str(phantoms)],
        "dataset_dir": None,
        "image_size": 64,
        "output_dir": str(tmp_path),
    }
    parser.update(own)
    dataset = parser.get_parsed_content("train#dataset")
    assert len(dataset) == 2 * 6
    assert len(dataset._cache) == 6
    assert all(x["image"].dtype == x["label"].dtype == torch.uint8 for x in dataset._cache)
    assert dataset[0]["image"].dtype == torch.float32


@pytest.mark.slow
def test_train_resume_evaluate_and_infer(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    copied = tmp_path / bundle.name
    shutil.copytree(bundle, copied, ignore=shutil.ignore_patterns("output", "training", "models"))
    own = ["--datalist", str(phantoms), "--dataset_dir", str(phantoms.parent), "--image_size", "64", "--device", "cpu"]
    train = ["--config_file", "configs/train.json", *own, "--val_interval", "1", "--channels", "[4,8,8]"]
    run_bundle(copied, *train, "--max_epochs", "1")
    run_bundle(copied, *train, "--max_epochs", "2", "--resume", "true")
    state = torch.load(latest_checkpoint(copied / "output"), weights_only=True)
    assert state["trainer"]["iteration"] == 2 * 2  # 6 training phantoms in batches of 4
    best = ["--checkpoint", str(copied / "output" / "model.pt"), "--channels", "[4,8,8]"]
    run_bundle(copied, "--config_file", "['configs/train.json','configs/evaluate.json']", *own, *best)
    figures = json.loads((copied / "output" / "evaluate_test" / "metrics.json").read_text())
    assert 0 <= figures["pr_auc_ex"] <= 1
    assert figures["val_mean_pr_auc"] == pytest.approx(
        np.mean([figures[f"pr_auc_{key}"] for key in ("ma", "he", "ex", "se") if f"pr_auc_{key}" in figures])
    )
    run_bundle(copied, "--config_file", "configs/inference.json", *own, *best)
    written = sorted((copied / "output" / "masks").glob("*.nii.gz"))
    assert len(written) == 2
    masks = nibabel.load(written[0]).get_fdata()
    assert masks.shape == (64, 64, 1, 6) or masks.shape == (64, 64, 6)
    assert 0 <= masks.min() <= masks.max() <= 1


@pytest.mark.slow
def test_the_pretrained_segmenter_trains_and_is_judged(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    copied = tmp_path / bundle.name
    shutil.copytree(bundle, copied, ignore=shutil.ignore_patterns("output", "training", "models"))
    own = ["--datalist", str(phantoms), "--dataset_dir", str(phantoms.parent), "--image_size", "64", "--device", "cpu"]
    train = "'configs/train.json','configs/train_lite0.json'"
    few = ["--val_interval", "1", "--max_epochs", "1", "--steps_per_epoch", "2", "--batch_size", "2"]
    run_bundle(copied, "--config_file", f"[{train}]", *own, *few)
    best = ["--checkpoint", str(copied / "output" / "model.pt")]
    run_bundle(copied, "--config_file", f"[{train},'configs/evaluate.json']", *own, *best)
    figures = json.loads((copied / "output" / "evaluate_test" / "metrics.json").read_text())
    assert 0 <= figures["pr_auc_ex"] <= 1
