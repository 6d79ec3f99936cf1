"""A study on another device than the CPU: painted, judged and trained there, with no tensor left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from painting_parts import painting_generator
from stand_in_device import stand_in_device
from torch import nn

from monai_retina_gen.data import LesionBank, load_datalist, write_phantoms
from monai_retina_gen.editing import GateLimits, LabelGate
from monai_retina_gen.evidence.study import PRESETS, StudyConfig
from monai_retina_gen.evidence.study import alternatives as alternatives_module
from monai_retina_gen.evidence.study.arms import Condition
from monai_retina_gen.evidence.study.material import GeneratedImages
from monai_retina_gen.evidence.study.photographs import load_photographs
from monai_retina_gen.evidence.study.training import (
    TrainingPhotographs,
    classic_transform,
    predict_grades,
    train_grader,
)


class Uniform(nn.Module):
    def forward(self, image: torch.Tensor, groups: Any) -> torch.Tensor:
        return torch.full((len(image), 5), 0.2, device=image.device)


def test_painted_judged_and_trained_on_a_device(
    tmp_path: Path, phantom_bank: LesionBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_phantoms(tmp_path / "eyes", count=8, size=128, seed=3, splits=(1.0, 0.0, 0.0), grades=(0, 2, 3))
    limits = GateLimits(0.1, {128: [9.0] * 5}, {128: [9.0] * 5}, 9.0, 9.0, 9.0, 9.0)
    gate = LabelGate(graders=Uniform(), segmenter=None, limits=limits)
    monkeypatch.setattr(alternatives_module, "LabelGate", lambda **options: gate)
    settings = {**PRESETS["smoke"], "image_size": 128, "bank_size": 1, "batch_size": 8, "amp": False}
    config = StudyConfig(**{**settings, "datalist": "-", "out": str(tmp_path / "out"), "device": "meta"})
    eyes = load_photographs(load_datalist(written)["training"], "training", config)
    with stand_in_device():
        generators = {"painter": painting_generator(phantom_bank).to("meta")}
        made = GeneratedImages(eyes, generators, config)
        policy = Condition("edit-canvas", "painter", share=0.5, gated=True)
        control = Condition("nothing-new", "painter", of="edit-canvas", share=0.5, gated=True)
        both, same = made.alternatives(policy), made.alternatives(control)
        assert both is not None
        assert same is not None
        assert both.images.device.type == same.images.device.type == "cpu"
        data = TrainingPhotographs(eyes, classic_transform("edit", "default"), dict.fromkeys(range(5), 0.5), both)
        few = eyes.select([0, 1])
        network, report = train_grader(data, few, balanced=True, backbone="resnet18", config=config, seed=0)
        assert report["steps"] == 1
        assert report["replaced_share"] > 0
        assert len(predict_grades(network, few.images, config)) == 2
