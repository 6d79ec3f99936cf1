"""Every bundle trains in two processes by its `multi_gpu_train.json`, on the CPU; one launch serves all.

`retina_stylegan3` has a launch of its own, by MONAI's command, in `test_stylegan3_bundle.py`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_retina_gen.weights import latest_checkpoint, load_state

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = str(Path(__file__).with_name("train_together.py"))
TINY: dict[str, dict[str, Any]] = {
    "retina_vae": {"image_size": 64},
    "retina_wgan": {"image_size": 64, "width": 8},
    "retina_wgan_gp": {"image_size": 64},
    "retina_grader": {"image_size": 64},
    "retina_lesion_segmentation": {"image_size": 64, "channels": [4, 8, 8]},
    "retina_drgan": {"image_size": 32, "base_width": 4, "residual_blocks": 1, "discriminator_scales": 2}
    | {"extractor": "pixels", "perceptual_network": "untrained", "val_samples": 1},
    "retina_lesion_painter": {"image_size": 64, "channels": [4, 8], "perceptual_network": "untrained"},
}
"""Options that make each training small."""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.slow
def test_two_processes_train_together(tmp_path: Path, phantom_folder: Path) -> None:
    common = {"datalist": str(phantom_folder / "datalist.json"), "dataset_dir": str(phantom_folder)}
    common |= {"batch_size": 4, "max_epochs": 1, "val_interval": 1, "val_samples": 1}
    trainings = [
        {
            "bundle": str(REPOSITORY / "bundles" / name),
            "port": port,
            "options": common | options | {"output_dir": str(tmp_path / name)},
        }
        for (name, options), port in zip(TINY.items(), free_ports(len(TINY)), strict=True)
    ]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", SCRIPT]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["MRG_BUNDLES"] = str(REPOSITORY / "bundles")
    done = subprocess.run(
        [*command, json.dumps(trainings)], capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in TINY:
        state = torch.load(latest_checkpoint(tmp_path / name), weights_only=True)
        assert state["trainer"]["iteration"] == 3, name  # 24 phantoms, two processes with batches of 4
        assert load_state(tmp_path / name / "model.pt"), name


def test_every_bundle_is_tried() -> None:
    bundles = {path.name for path in (REPOSITORY / "bundles").iterdir() if (path / "configs" / "train.json").is_file()}
    assert bundles == {*TINY, "retina_stylegan3"}
    for name in bundles:
        assert (REPOSITORY / "bundles" / name / "configs" / "multi_gpu_train.json").is_file()
