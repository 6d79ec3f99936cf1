"""Condition maps from items, and the batches that engines make of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.transforms import Compose, ScaleIntensityRanged

from monai_retina_gen.data import CONDITION_KEYS, load_datalist, read_mask
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.engines import PrepareConditionBatch, PrepareSynthesisBatch, SynthesisInferer
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd, StackConditionMapd

UNIT = ScaleIntensityRanged(keys=["image", "condition"], a_min=0, a_max=255, b_min=0.0, b_max=1.0)


def test_image_and_masks_go_through_one_crop(phantom_folder: Path) -> None:
    item = load_datalist(phantom_folder / "datalist.json")["training"][4]
    keys = {"keys": "image", "mask_keys": CONDITION_KEYS}
    crop = CropToFieldOfViewd(size=32, **keys)
    stacked = Compose([LoadFundusd(**keys), crop, StackConditionMapd(), UNIT])(item)
    assert stacked["image"].shape == (3, 32, 32)
    assert stacked["condition"].shape == (9, 32, 32)
    assert stacked["missing"] == ""
    assert stacked["grade"] == item["grade"]
    loaded = LoadFundusd(**keys)({"image": item["image"], **{key: item[key] for key in CONDITION_KEYS}})
    expected = crop(loaded)
    for index, key in enumerate(CONDITION_KEYS):
        torch.testing.assert_close(stacked["condition"][index], expected[key][0].as_tensor(), atol=0.6 / 255, rtol=0)


def test_at_its_own_size_nothing_moves(phantom_folder: Path) -> None:
    item = load_datalist(phantom_folder / "datalist.json")["training"][3]
    plain = {"image": read_image(item["image"]), "vessel": read_mask(item["vessel"]), "grade": item["grade"]}
    stacked = UNIT(StackConditionMapd()(plain))
    torch.testing.assert_close(stacked["image"], plain["image"])
    torch.testing.assert_close(stacked["condition"][0], plain["vessel"][0])
    assert stacked["missing"].split(",") == list(CONDITION_KEYS[1:])


def test_refuses_items_that_do_not_fit() -> None:
    stack = StackConditionMapd()
    with pytest.raises(ImageValueError, match="crop and resize both together"):
        stack({"image": torch.zeros(3, 8, 8), "vessel": torch.zeros(1, 4, 4)})
    with pytest.raises(ImageValueError, match="no mask"):
        stack({"image": torch.zeros(3, 8, 8)})
    with pytest.raises(KeyError):
        stack({"vessel": torch.zeros(1, 8, 8)})
    assert "image" not in StackConditionMapd(allow_missing_keys=True)({"vessel": torch.zeros(1, 8, 8)})


def test_prepared_for_training() -> None:
    batch = {"image": torch.rand(2, 3, 8, 8), "condition": torch.rand(2, 9, 8, 8), "grade": torch.tensor([0, 4])}
    prepare = PrepareConditionBatch()
    real, condition = prepare(batch)
    torch.testing.assert_close(real, 2 * batch["image"] - 1)
    assert torch.equal(condition["condition"], batch["condition"])
    assert torch.equal(condition["grade"], batch["grade"])
    prepare.reduction = 2
    real, condition = prepare(batch)
    assert real.shape == (2, 3, 4, 4)
    torch.testing.assert_close(condition["condition"][0, 0, 0, 0], batch["condition"][0, 0, :2, :2].mean())


def test_prepared_for_synthesis() -> None:
    batch = {
        "image": torch.rand(2, 3, 8, 8),
        "condition": torch.rand(2, 9, 8, 8),
        "grade": torch.tensor([0, -1]),
        "seed": torch.tensor([3, 4]),
        "missing": ["laser", ""],
    }
    condition, image, _, keywords = PrepareSynthesisBatch(samples=2)(batch)
    assert condition.shape == (4, 9, 8, 8)
    assert image.shape == (2, 3, 8, 8)
    assert keywords["seeds"] == [6, 7, 8, 9]
    assert keywords["grades"].tolist() == [0, 0, -1, -1]
    assert keywords["missing"] == ["laser", "laser", "", ""]


def test_inferer_asks_for_what_the_items_have() -> None:
    class Recording:
        def __init__(self) -> None:
            self.asked: list[tuple[list[str], list[int] | None]] = []

        def synthesize(self, masks, grades, *, seeds, allow):  # type: ignore[no-untyped-def]
            from monai_retina_gen.generators import GeneratedBatch

            self.asked.append((list(masks), grades))
            return GeneratedBatch(torch.zeros(1, 3, 8, 8), torch.tensor([2]), ["record"])  # type: ignore[list-item]

    generator = Recording()
    inferer = SynthesisInferer(generator=generator)
    absent = ",".join(CONDITION_KEYS[3:])
    found = inferer(torch.zeros(2, 9, 8, 8), None, grades=torch.tensor([3, -1]), seeds=[1, 2], missing=[absent, ""])
    assert found.shape == (2, 3, 8, 8)
    assert generator.asked == [(["vessel", "od", "fov"], [3]), (list(CONDITION_KEYS), None)]
    assert len(inferer.last_batch.records) == 2
