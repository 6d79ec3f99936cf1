"""The preset `per_class` of retina_vae: one network a grade, as published."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from monai_retina_gen.networks import PerGradeVAE
from monai_retina_gen.weights import load_weights


@pytest.mark.slow
def test_per_class_preset_trains(tmp_path: Path, bundles_dir: Path, phantom_folder: Path) -> None:
    bundle = tmp_path / "retina_vae"
    shutil.copytree(bundles_dir / "retina_vae", bundle, ignore=shutil.ignore_patterns("output", "models"))
    command = [sys.executable, "-m", "monai.bundle", "run"]
    command += ["--config_file", "['configs/train.json','configs/per_class.json']", "--max_epochs", "1"]
    command += [
        "--datalist",
        str(phantom_folder / "datalist.json"),
        "--dataset_dir",
        str(phantom_folder),
        "--image_size",
        "64",
        "--val_interval",
        "1",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    load_weights(PerGradeVAE(image_size=64), bundle / "output" / "model.pt")
