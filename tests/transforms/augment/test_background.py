"""Edits in the background across processes: a fork finds everything in order, a worker process is told what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.data import Dataset, ThreadDataLoader
from torch.utils.data import DataLoader

from monai_retina_gen.transforms.augment.background import BackgroundEdits
from monai_retina_gen.transforms.augment.policy import AugmentationPlan

PLAN, IMAGE = AugmentationPlan("edit", 3, 0, "ex", 0.5), torch.zeros(3, 4, 4)


def invert(plan: AugmentationPlan, image: torch.Tensor) -> torch.Tensor:
    return 1 - image


def shown(bank: BackgroundEdits) -> float:
    edit = bank.take(PLAN, IMAGE)
    return -1.0 if edit is None else float(edit.mean())


def test_a_child_that_is_forked_during_an_edit_goes_on(in_fork: Callable[[Callable[[], Any]], Any]) -> None:
    begun, done = threading.Event(), threading.Event()

    def make(plan: AugmentationPlan, image: torch.Tensor) -> torch.Tensor:
        begun.set()
        done.wait(20)
        return 1 - image

    bank = BackgroundEdits(make, share=1.0)
    assert bank.take(PLAN, IMAGE) is None
    begun.wait(20)

    def in_child() -> list[float]:
        done.set()
        before = shown(bank)
        bank.finish()
        return [before, shown(bank)]

    with bank._change:  # held in the parent while it forks
        assert in_fork(in_child) == [-1.0, 1.0]
    done.set()
    bank.finish()
    assert shown(bank) == 1.0


def test_a_worker_process_is_told_what_to_do() -> None:
    data = Dataset([0, 1], transform=Shown(BackgroundEdits(invert, share=1.0)))
    with pytest.raises(RuntimeError, match=r"background: .*num_workers=0.*use_thread_workers=True.*bank"):
        list(DataLoader(data, num_workers=1))


def test_workers_that_are_threads_are_served() -> None:
    bank = BackgroundEdits(invert, share=1.0)
    loader = ThreadDataLoader(Dataset([0, 1], transform=Shown(bank)), num_workers=2, use_thread_workers=True)
    list(loader)
    bank.finish()
    assert [float(batch) for batch in loader] == [1.0, 1.0]


class Shown:
    """A transform that a worker can be sent."""

    def __init__(self, bank: BackgroundEdits) -> None:
        self.bank = bank

    def __call__(self, item: int) -> float:
        return shown(self.bank)
