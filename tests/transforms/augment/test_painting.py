"""Painting through the transforms: array, dictionary and batch form, with masks and without."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from painting_parts import MASKS, Knows, painting_generator, phantom

from monai_retina_gen.data import LesionBank
from monai_retina_gen.transforms import BatchGenerativeAugment, GenerativeAugment, GenerativeAugmentd, LesionEditd

LESIONS = ("ma", "he", "ex", "se")


def generator(bank: LesionBank) -> Any:
    _, masks = phantom(2)
    return painting_generator(bank, Knows({name: masks[name] for name in MASKS if name != "fov"}))


def test_an_image_and_a_grade_are_enough(phantom_bank: LesionBank) -> None:
    image, _ = phantom(2)
    augment = GenerativeAugmentd(
        keys="image", label_key="grade", generator=generator(phantom_bank), mode="edit", prob=1.0
    )
    augment.set_random_state(3)
    photograph = MetaTensor(image[0], meta={"image_order": "CHW", "filename_or_obj": "eye.png"})
    item = augment({"image": photograph, "grade": 2, "dme": 1})
    record = json.loads(item["image_generated"])
    assert (record["mode"], record["source"], record["options"]["lesion"]) == ("edit", "eye.png", "ma+he+ex+se")
    assert 0.3 <= record["options"]["strength"] <= 1
    assert not torch.equal(item["image"].as_tensor(), image[0])
    assert (item["grade"], item["dme"], item["image_refused"]) == (2, 1, "")
    refused = augment({"image": photograph, "grade": 0})
    assert "grade 0 excludes" in refused["image_refused"]
    assert torch.equal(refused["image"].as_tensor(), image[0])


def test_masks_come_back_changed(phantom_bank: LesionBank) -> None:
    image, masks = phantom(2)
    augment = GenerativeAugmentd(
        keys="image", mask_keys=MASKS, generator=generator(phantom_bank), mode="edit", prob=1.0, image_order="CWH"
    )
    turned = {name: mask[0].transpose(1, 2) for name, mask in masks.items()}
    made = augment.set_random_state(1)({"image": image[0].transpose(1, 2), "grade": 2, **turned})
    changed = (made["image"] != image[0].transpose(1, 2)).any(0)
    new = torch.stack([made[name] - turned[name] for name in LESIONS]).amax(0)[0]
    assert bool((new > 0.5).any())
    assert bool(changed[new > 0.5].all())
    assert all(torch.equal(made[name], turned[name]) for name in ("fov", "od", "vessel"))
    with pytest.raises(ValueError, match="also holds the masks"):
        LesionEditd(keys="image", generator=generator(phantom_bank), lesion="ex+he", image_order="CHW")(
            {"image": image[0], "grade": 2, "ex": masks["ex"][0]}
        )


def test_the_three_forms_agree(phantom_bank: LesionBank) -> None:
    image, _ = phantom(3)
    arguments: dict[str, Any] = {"mode": "edit", "prob": 1.0, "image_order": "CHW", "strength": (1.0, 1.0)}
    array = GenerativeAugment(generator=generator(phantom_bank), **arguments).set_random_state(5)
    dictionary = GenerativeAugmentd("image", generator=generator(phantom_bank), **arguments).set_random_state(5)
    batch = BatchGenerativeAugment(generator=generator(phantom_bank), **arguments).set_random_state(5)
    expected = array(image[0], 3)
    assert torch.equal(dictionary({"image": image[0], "grade": 3})["image"], expected)
    made = batch({"image": image.expand(2, -1, -1, -1), "grade": torch.tensor([3, 0])})
    assert torch.equal(made["image"][0], expected.as_tensor() if isinstance(expected, MetaTensor) else expected)
    assert torch.equal(made["image"][1], image[0])
    assert made["image_refused"][1]
