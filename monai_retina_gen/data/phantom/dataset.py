"""Phantoms as a torch data set, drawn when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from .fundus import phantom_fundus

__all__ = ["PhantomDataset", "phantom_seed"]

SEEDS_PER_BASE = 2**32


def phantom_seed(seed: int, index: int) -> int:
    """Seed of the phantom at `index` under a base seed; different base seeds share no phantom.

    Examples:
        >>> phantom_seed(0, 5), phantom_seed(1, 5)
        (5, 4294967301)
    """
    return seed * SEEDS_PER_BASE + index


class PhantomDataset(Dataset[dict[str, Any]]):
    """Phantom fundi as dictionary items: `image`, `grade`, `group`, and the masks where wanted.

    Args:
        length: number of phantoms.
        size: width and height in pixels.
        seed: base seed; data sets of different base seeds share no phantom.
        grades: grades taken in turn, e.g. `range(5)` for equally many of each; None draws every grade with
            the frequencies of IDRiD's training split.
        masks: whether items hold the masks, under their names.

    Raises:
        ValueError: for a length below 1, an empty `grades` or a grade outside 0-4.

    Examples:
        >>> dataset = PhantomDataset(length=10, size=32, grades=range(5))
        >>> dataset[7]["image"].shape, dataset[7]["grade"], dataset[7]["group"]
        (torch.Size([3, 32, 32]), 2, 'phantom/7')
    """

    def __init__(
        self,
        *,
        length: int,
        size: int = 128,
        seed: int = 0,
        grades: Sequence[int] | None = None,
        masks: bool = False,
    ) -> None:
        if not 1 <= length <= SEEDS_PER_BASE:
            raise ValueError(f"length is {length}; a phantom data set has 1 to 2**32 items")
        if seed < 0:
            raise ValueError(f"seed is {seed}; the base seed is a whole number from 0")
        if grades is not None and (not len(grades) or any(grade not in range(5) for grade in grades)):
            raise ValueError(f"grades is {grades!r}; give at least one of 0, 1, 2, 3, 4, or None to draw them")
        self.length = length
        self.size = size
        self.seed = seed
        self.grades = None if grades is None else tuple(grades)
        self.masks = masks

    def __len__(self) -> int:
        """Return the number of phantoms."""
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Draw the phantom at `index`; negative indices count from the end."""
        if not -self.length <= index < self.length:
            raise IndexError(f"index {index} in a phantom data set of {self.length}")
        index %= self.length
        grade = None if self.grades is None else self.grades[index % len(self.grades)]
        phantom = phantom_fundus(phantom_seed(self.seed, index), grade=grade, size=self.size)
        item = {"image": phantom.image, "grade": phantom.grade, "group": f"phantom/{phantom.seed}"}
        return {**item, **phantom.masks} if self.masks else item
