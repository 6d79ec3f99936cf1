"""Sampling: every grade equally often; and an order of seed and epoch alone, so that a run resumes exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
import torch.distributed as dist
from monai.transforms import Randomizable
from torch.utils.data import Dataset, Sampler, WeightedRandomSampler

from monai_retina_gen.data.datalist_format import Item, Problems
from monai_retina_gen.data.grades import grade_of, read_grade
from monai_retina_gen.errors import DatalistError


def balanced_sampler(
    items: Sequence[Item], *, label_key: str = "grade", num_samples: int | None = None, seed: int = 0
) -> WeightedRandomSampler:
    """Make a sampler that draws each grade present equally often in expectation, with replacement.

    An item of grade g is drawn with probability `1 / (G * n_g)`, where n_g is the number of its grade and G
    the number of grades present. Together with `balance_probabilities` the expected number of real showings
    is the same for every photograph.

    Args:
        items: the items of the data set that is sampled, in its order.
        label_key: key of the grade.
        num_samples: draws per epoch; the number of items by default.
        seed: seed of the sampler's own generator.

    Raises:
        DatalistError: no items, or items without a label or with one that is none; names them.
        ValueError: `num_samples` is not a positive integer (by torch).

    Examples:
        >>> items = [{"grade": 0}, {"grade": 0}, {"grade": 0}, {"grade": 4}]
        >>> [round(float(w), 3) for w in balanced_sampler(items).weights]
        [0.167, 0.167, 0.167, 0.5]
    """
    if not items:
        raise DatalistError("items is empty: balanced_sampler needs the items of the data set that it samples.")
    problems = Problems("balanced_sampler")
    for index, item in enumerate(items):
        if item.get(label_key) is None:
            problems.add(f"no label_key {label_key!r}", item.get("image", f"item {index}"))
    labels = [read_grade(item, label_key, problems) for item in items if item.get(label_key) is not None]
    problems.raise_any("Load the datalist with require_grade=True, or give the right label_key.")
    counts = Counter(labels)
    weights = [1.0 / (len(counts) * counts[label]) for label in labels]
    draws = len(items) if num_samples is None else num_samples
    return WeightedRandomSampler(weights, draws, generator=torch.Generator().manual_seed(seed))


def balance_probabilities(counts: Mapping[Any, int]) -> dict[int, float]:
    """Probability of a synthetic image per grade, `1 - n_g / max(n)` of the `counts`, for use with `balanced_sampler`.

    A grade without photographs gets 0: there is none to be replaced. `DatalistError` for no photographs at all, or a
    number of them that is none.
    """
    try:
        numbers = {grade_of(grade, "grade"): grade_of(number, "number") for grade, number in counts.items()}
    except (AttributeError, ValueError) as error:
        raise DatalistError(f"counts={counts!r}: {{grade: number of photographs}} is wanted; {error}") from error
    largest = max(numbers.values(), default=0)
    if not largest:
        raise DatalistError(
            f"counts={counts!r} has no photographs: give their number per grade, as count_grades returns it."
        )
    return {grade: 1.0 - number / largest if number else 0.0 for grade, number in numbers.items()}


def spread(count: int, limit: int | None) -> list[int]:
    """`limit` rows of `count`, evenly spread; all where there are no more."""
    wanted = count if limit is None else min(limit, count)
    return [i * count // wanted for i in range(wanted)]


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
