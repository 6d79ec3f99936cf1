"""Every bundle: inference and training by MONAI's commands; `tests/zoo/test_verification.py` checks the rest."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from fresh_process import run_bundle
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.data import CacheDataset

from monai_retina_gen.data import read_manifest, read_text
from monai_retina_gen.generators import load_generator
from monai_retina_gen.weights import CHECKPOINT, latest_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLES = sorted(path.name for path in (REPOSITORY / "bundles").iterdir() if (path / CHECKPOINT).is_file())
GENERATORS = ["retina_vae", "retina_wgan", "retina_wgan_gp", "retina_stylegan3"]


@pytest.fixture(params=BUNDLES)
def bundle(request: pytest.FixtureRequest) -> Path:
    return REPOSITORY / "bundles" / str(request.param)


def test_training_photographs_are_decoded_once(bundle: Path, phantom_folder: Path) -> None:
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "train.json"))
    parser.update({"datalist": str(phantom_folder / "datalist.json"), "dataset_dir": str(phantom_folder)})
    parser.update({"image_size": 64, "bundle_root": str(bundle)})
    dataset = parser.get_parsed_content("train#dataset")
    cached = getattr(dataset, "dataset", dataset)  # below the random transforms
    assert isinstance(cached, CacheDataset)
    assert isinstance(cached._cache[0]["image"], torch.Tensor)


def test_a_training_can_be_limited_in_time(bundle: Path) -> None:
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "train.json"))
    trainer = Engine(lambda engine, batch: None)
    parser.update({"time_limit": 1, "train": {"trainer": trainer}})
    parser.get_parsed_content("stop")
    assert "@stop" in parser["run"]
    ended = trainer.run(itertools.repeat(0), max_epochs=1, epoch_length=10**9)
    assert 0 < ended.iteration < 10**9


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATORS)
def test_inference_writes_images(name: str, tmp_path: Path) -> None:
    arguments = ["--output_dir", str(tmp_path / "made"), "--num_samples", "1", "--device", "cpu"]
    run_bundle(REPOSITORY / "bundles" / name, "--config_file", "configs/inference.json", *arguments)
    entries = read_manifest(tmp_path / "made")
    config = json.loads((REPOSITORY / "bundles" / name / "configs" / "inference.json").read_text())
    assert sorted(entry["grade"] for entry in entries) == config["grades"]
    assert "generated" in read_text(entries[0]["image"])


@pytest.mark.slow
def test_train_resume_and_use_on_another_datalist(bundle: Path, tmp_path: Path, phantom_folder: Path) -> None:
    copied = tmp_path / bundle.name
    shutil.copytree(bundle, copied, ignore=shutil.ignore_patterns("output", "training"))
    own = ["--datalist", str(phantom_folder / "datalist.json"), "--dataset_dir", str(phantom_folder)]
    own += ["--image_size", "64", "--val_interval", "1", "--device", "cpu", "--batch_size", "8"]
    own += ["--val_samples", "1"]  # a grade, in sample grids
    train = ["--config_file", "configs/train.json", *own]
    bundles = {"MRG_BUNDLES": str(REPOSITORY / "bundles")}
    run_bundle(copied, *train, "--max_epochs", "1", **bundles)
    best = copied / "output" / "model.pt"
    assert best.is_file()
    run_bundle(copied, *train, "--max_epochs", "2", "--resume", "true", "--init_weights", str(best), **bundles)
    state = torch.load(latest_checkpoint(copied / "output"), weights_only=True)
    assert state["trainer"]["iteration"] == 2 * 3  # 24 training phantoms in batches of 8


def test_shipped_generator_makes_plausible_eyes() -> None:
    """Colour and field of view of samples lie where photographs have them: black corners, red over green over blue."""
    for name in GENERATORS:
        generator = load_generator(REPOSITORY / "bundles" / name)
        grades = sorted(set(range(5)) - generator.missing_grades)
        images = generator.sample((grades * 5)[:20], seeds=range(20)).image
        assert images[:, :, :4, :4].mean() < 0.05
        third = images.shape[-1] // 3
        middle = images[:, :, third:-third, third:-third].mean(dim=(0, 2, 3))
        assert middle[0] > middle[1] > middle[2]
        assert images.std(dim=0).mean() > 0.02  # they are not one image
