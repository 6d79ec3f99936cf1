"""Painting stays on the device of the photographs and changes there what it changes on the CPU."""

from __future__ import annotations

import torch
from stand_in_device import OnDevice, stand_in_device

from monai_retina_gen.data import PhantomDataset
from monai_retina_gen.generators import LesionPainterGenerator
from monai_retina_gen.networks import LesionPainter

MASKS = ("fov", "od", "vessel", "ma", "he", "ex", "se")


def test_an_edit_on_another_device_equals_that_on_the_cpu() -> None:
    eyes = [PhantomDataset(length=2, size=128, grades=[2], masks=True)[i] for i in range(2)]
    images = torch.stack([eye["image"] for eye in eyes])
    masks = {key: torch.stack([eye[key] for eye in eyes]) for key in MASKS}
    asked = {"lesion": "he", "change": "remove", "strength": 0.5, "seeds": [0, 1]}
    torch.manual_seed(0)
    network = LesionPainter(channels=(4, 8))
    wanted = LesionPainterGenerator(network).edit(images, [2, 2], masks=masks, **asked)
    assert not torch.equal(wanted.image, images)
    with stand_in_device() as device:
        generator = LesionPainterGenerator(network.to(device))
        there = {key: mask.to(device) for key, mask in masks.items()}
        made = generator.edit(images.to(device), [2, 2], masks=there, **asked)
    assert isinstance(made.image, OnDevice)
    assert torch.equal(made.image.held, wanted.image)
    assert made.masks is not None
    assert wanted.masks is not None
    for key in MASKS:
        mask = made.masks[key]
        assert isinstance(mask, OnDevice)
        assert torch.equal(mask.held, wanted.masks[key])
