"""NCCL with one process, and a compiled generator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from monai_retina_gen.networks import ResidualGenerator
from monai_retina_gen.weights import load_state

TESTS = Path(__file__).resolve().parents[1]


def test_bundles_train_under_nccl(tmp_path: Path, phantom_folder: Path) -> None:
    own = {"datalist": str(phantom_folder / "datalist.json"), "dataset_dir": str(phantom_folder), "image_size": 64}
    own |= {"batch_size": 8, "max_epochs": 1, "val_interval": 1}  # type: ignore[dict-item]
    trainings = [
        {
            "bundle": str(TESTS.parent / "bundles" / name),
            "port": port,
            "options": own | {"output_dir": str(tmp_path / name)} | options,
        }
        for name, port, options in (
            ("retina_vae", 29611, {}),
            ("retina_wgan_gp", 29612, {"extractor": "pixels"}),
        )
    ]
    script = str(TESTS / "bundles" / "train_together.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", script]
    environment = {**os.environ, "NCCL_DEBUG": "VERSION"}
    done = subprocess.run(
        [*command, json.dumps(trainings)], capture_output=True, text=True, timeout=200, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "NCCL version" in done.stdout + done.stderr
    for name in ("retina_vae", "retina_wgan_gp"):
        assert load_state(tmp_path / name / "model.pt"), name


@pytest.mark.usefixtures("exact")
def test_a_compiled_generator_makes_the_same_images() -> None:
    torch.manual_seed(0)
    network = ResidualGenerator(image_size=64, channels=(8, 8, 8, 8, 8), latent_dim=4).cuda().eval()
    latent, grade = torch.randn(4, 4, device="cuda"), torch.tensor([0, 1, 4, 5], device="cuda")
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(network)(latent, grade), network(latent, grade), atol=1e-3, rtol=0)
