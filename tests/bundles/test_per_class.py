"""The preset `per_class` of retina_vae: one network a grade, as published."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fresh_process import run_bundle

from monai_retina_gen.networks import PerGradeVAE
from monai_retina_gen.weights import load_weights


@pytest.mark.slow
def test_per_class_preset_trains(tmp_path: Path, bundles_dir: Path, phantom_folder: Path) -> None:
    bundle = tmp_path / "retina_vae"
    shutil.copytree(bundles_dir / "retina_vae", bundle, ignore=shutil.ignore_patterns("output", "models"))
    arguments = ["--config_file", "['configs/train.json','configs/per_class.json']", "--max_epochs", "1"]
    arguments += ["--datalist", str(phantom_folder / "datalist.json"), "--dataset_dir", str(phantom_folder)]
    run_bundle(bundle, *arguments, "--image_size", "64", "--val_interval", "1")
    load_weights(PerGradeVAE(image_size=64), bundle / "output" / "model.pt")
