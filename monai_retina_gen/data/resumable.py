"""Batches whose order and random transforms depend on seed, epoch and position alone, so that a run resumes exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from typing import Any

import torch
import torch.distributed as dist
from monai.transforms import Randomizable
from torch.utils.data import Dataset, Sampler

__all__ = ["ResumableSampler", "SeededDataset"]


class ResumableSampler(Sampler[tuple[int, int]]):
    """Shuffles anew every epoch, and can start in the middle of one.

    Yields `(index, seed)` for `SeededDataset`. With several processes each takes every `world_size`-th row, so that
    their batches together are the batch of one process.

    Args:
        dataset: what is sampled from; only its length is used.
        batch_size: rows of a batch of one process.
        seed: of order and items.
        shuffle: `False` keeps the order of the data set.

    Raises:
        ValueError: if the data set gives less than one batch.

    Examples:
        >>> sampler = ResumableSampler(range(6), batch_size=2, seed=1)
        >>> whole = list(sampler)
        >>> sampler.set_position(epoch=1, batches=2)
        >>> list(sampler) == whole[4:]
        True
    """

    def __init__(self, dataset: Sized, *, batch_size: int, seed: int = 0, shuffle: bool = True) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank, self.world_size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
        self.length, self.batch_size, self.seed, self.shuffle = len(dataset), batch_size, seed, shuffle
        if len(self) < batch_size:
            raise ValueError(
                f"{self.length} items give no batch of {batch_size} to each of {self.world_size} processes: lower "
                "batch_size"
            )
        self.epoch, self.start = 1, 0

    def set_position(self, *, epoch: int, batches: int = 0) -> None:
        """Go to an epoch, counted from 1, after `batches` of its batches. Holds for one iteration over the sampler."""
        self.epoch, self.start = epoch, batches * self.batch_size

    def __len__(self) -> int:
        return self.length // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(_mix(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator).tolist() if self.shuffle else list(range(self.length))
        start, self.start = self.start, 0
        for row in range(start, len(self)):
            position = row * self.world_size + self.rank
            yield order[position], _mix(self.seed, self.epoch, position)


class SeededDataset(Dataset[Any]):
    """Applies random transforms that are seeded anew for every item.

    Args:
        dataset: items before the random transforms, such as a `CacheDataset` of the deterministic ones.
        transform: random transforms.

    Examples:
        >>> from monai.transforms import RandGaussianNoise
        >>> data = SeededDataset([torch.zeros(1, 2, 2)], RandGaussianNoise(prob=1.0))
        >>> bool((data[0, 7] == data[0, 7]).all()), bool((data[0, 7] == data[0, 8]).all())
        (True, False)
    """

    def __init__(self, dataset: Any, transform: Callable[[Any], Any]) -> None:
        self.dataset, self.transform = dataset, transform
        self.data = getattr(dataset, "data", None)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | tuple[int, int]) -> Any:
        index, seed = key if isinstance(key, tuple) else (key, None)
        if seed is None:
            return self.transform(self.dataset[index])
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(seed=seed)
        with torch.random.fork_rng(devices=[]):  # for transforms of torchvision
            torch.default_generator.manual_seed(seed)  # the CPU alone: `torch.manual_seed` also looks for devices
            return self.transform(self.dataset[index])


def _mix(*numbers: int) -> int:
    """One seed below 2**32 of several numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % 2**32
    return seed
