from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from monai_retina_gen.__main__ import main
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.networks import GradingSpace
from monai_retina_gen.weights import load_network, load_state, load_weights


def test_command_writes_a_space_that_loads(grader_bundle: Path, phantom_list: Path, tmp_path: Path) -> None:
    arguments = [
        "model",
        "grading-space",
        "--datalist",
        str(phantom_list),
        "--extractor",
        str(grader_bundle),
        "--rank",
        "2",
    ]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    settings = json.loads((tmp_path / "grading_space.json").read_text())
    assert settings["photographs"] == [4, 4, 4, 4, 4]
    assert settings["extractor"]["name"] == "tiny_grader, pooled"
    space = GradingSpace(**{key: settings[key] for key in ("dimension", "num_classes", "rank")})
    load_weights(space, tmp_path / "grading_space.pt")
    assert space.sample([0, 4], seeds=[1, 2]).shape == (2, 512)
    assert read_image(tmp_path / "grading_space.png").std() > 0.05


def test_a_bundle_holds_its_space(grader_bundle: Path, phantom_list: Path, tmp_path: Path) -> None:
    shutil.copytree(grader_bundle, tmp_path / "own")
    arguments = ["model", "grading-space", "--datalist", str(phantom_list), "--extractor", str(grader_bundle), "--out"]
    assert main([*arguments, str(tmp_path / "out"), "--store", str(tmp_path / "own")]) == 0
    stored = load_network(tmp_path / "own", config_name="grading_space")
    assert isinstance(stored, GradingSpace)
    assert stored.count.tolist() == [4] * 5
    written = load_state(tmp_path / "out" / "grading_space.pt")
    assert all(torch.equal(value, written[name]) for name, value in stored.state_dict().items())
