"""Workers of a plain DataLoader draw different numbers, and the same ones in the next run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from monai_retina_gen.data import LesionBank, MaskComposer, PhantomDataset, SeededDataset
from monai_retina_gen.transforms import ComposeMasksd, RandLesionCropd

ITEMS, WORKERS = 6, 2


class Same(Dataset[Any]):
    """One item over and over, so that what differs was drawn."""

    def __init__(self, item: Any, transform: Callable[[Any], Any], key: str) -> None:
        self.item, self.transform, self.key = item, transform, key

    def __len__(self) -> int:
        return ITEMS

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.item)[self.key]


@pytest.fixture
def drawing(phantom_bank: LesionBank, request: pytest.FixtureRequest) -> Same:
    if request.param == "crop":
        item = {"image": torch.zeros(3, 64, 64).byte(), "label": torch.arange(64**2).reshape(1, 64, 64) % 200}
        return Same(item, RandLesionCropd(size=4, structures=["ma"], around=["ma"]), "label")
    item = PhantomDataset(length=1, size=128, grades=[3], masks=True)[0]
    compose = ComposeMasksd(keys=("ma", "he"), bank=MaskComposer(phantom_bank), grades=[2, 3], image_order="CHW")
    return Same(item, compose, "composed")


@pytest.mark.parametrize("drawing", ["crop", "compose"], indirect=True)
def test_workers_draw_different_numbers_and_repeat(drawing: Same) -> None:
    def run() -> list[str]:
        drawing.transform.set_random_state(3)  # type: ignore[attr-defined]
        loader = DataLoader(drawing, batch_size=1, num_workers=WORKERS, generator=torch.Generator().manual_seed(0))
        return [str(batch) for batch in loader]

    drawn = run()
    assert len(set(drawn)) == ITEMS, "workers repeat one another"
    assert run() == drawn


def test_a_state_that_is_set_in_the_worker_is_kept() -> None:
    """As `SeededDataset` sets one for every item: which worker has the item makes no difference."""
    item = {"image": torch.zeros(3, 64, 64).byte(), "label": torch.arange(64**2).reshape(1, 64, 64) % 200}
    crop = RandLesionCropd(size=4, structures=["ma"], around=["ma"])
    data = SeededDataset([item] * ITEMS, crop)
    keys = [(index, 10 + index) for index in range(ITEMS)]
    alone = [data[key]["label"] for key in keys]
    for workers in (1, WORKERS):
        loaded = DataLoader(data, batch_size=None, sampler=keys, num_workers=workers)  # type: ignore[arg-type]
        assert all(torch.equal(a, b["label"]) for a, b in zip(alone, loaded, strict=True))
