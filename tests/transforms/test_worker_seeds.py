"""Workers of a plain DataLoader draw different numbers, and the same ones in the next run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from monai.transforms import Randomizable
from torch.utils.data import DataLoader, Dataset

from monai_retina_gen import transforms
from monai_retina_gen.data import MaskComposer, PhantomDataset, SeededDataset
from monai_retina_gen.transforms import ComposeMasksd, RandLesionCropd
from monai_retina_gen.transforms.worker_seeds import WorkerSeeded

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
def drawing(request: pytest.FixtureRequest) -> Same:
    if request.param == "crop":
        item = {"image": torch.zeros(3, 64, 64).byte(), "label": torch.arange(64**2).reshape(1, 64, 64) % 200}
        return Same(item, RandLesionCropd(size=4, structures=["ma"], around=["ma"]), "label")
    bank = request.getfixturevalue("phantom_bank")
    item = PhantomDataset(length=1, size=128, grades=[3], masks=True)[0]
    compose = ComposeMasksd(keys=("ma", "he"), bank=MaskComposer(bank), grades=[2, 3], image_order="CHW")
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


def test_every_random_transform_of_the_package_is_one() -> None:
    public = [getattr(transforms, name) for name in vars(transforms)]
    random = [one for one in public if isinstance(one, type) and issubclass(one, Randomizable)]
    assert {RandLesionCropd, transforms.ComposeMasks, transforms.GenerativeAugment} <= set(random)
    delegating = {transforms.GenerativeAugmentd, ComposeMasksd}  # their array form draws
    assert all(issubclass(one, WorkerSeeded) for one in set(random) - delegating)


def test_threads_share_what_draws_and_nothing_else() -> None:
    """A transform called from many threads cuts whole crops: image and label of one place."""
    place = torch.arange(64**2).reshape(1, 64, 64)
    item = {"image": (place % 251).byte(), "label": (place % 251).byte()}
    crop = RandLesionCropd(size=4, structures=["ma"], around=[])
    with ThreadPoolExecutor(8) as pool:
        for cut in pool.map(crop, [item] * 400):
            assert torch.equal((cut["image"] * 255).round(), (cut["label"] * 254).round())
