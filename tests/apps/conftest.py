"""A miniature grader, generator and phantoms for the evidence commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from monai_retina_gen.data import write_phantoms
from monai_retina_gen.networks import FundusGrader
from monai_retina_gen.weights import CHECKPOINT, save_state


@pytest.fixture(scope="session")
def grader_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature bundle of an untrained grader at 48 px."""
    bundle = tmp_path_factory.mktemp("graders") / "tiny_grader"
    (bundle / "configs").mkdir(parents=True)
    torch.manual_seed(0)
    save_state(FundusGrader(backbone="resnet18").state_dict(), bundle / CHECKPOINT, half=True)
    network = {"_target_": "monai_retina_gen.networks.FundusGrader", "backbone": "resnet18"}
    inference = {"network_def": network, "image_size": 48}
    (bundle / "configs" / "inference.json").write_text(json.dumps(inference))
    return bundle


@pytest.fixture(scope="session")
def phantom_list(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datalist of 40 phantoms of 80 px (a crop of 64 fits), grades in turn, 20 / 12 / 8."""
    folder = tmp_path_factory.mktemp("evidence")
    return write_phantoms(folder, count=40, size=80, seed=5, masks=False, splits=(0.5, 0.3, 0.2), grades=range(5))
