"""What edits of photographs start from, kept in memory by the photographs' content."""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from monai_retina_gen.fork_safety import ForkSafeLock

__all__ = ["EditCache", "photograph_keys"]

AT_A_TIME = 4
"""Photographs whose keys are made together: their pixels stand in memory as 64 bits each."""


def photograph_keys(
    images: Tensor, grades: Sequence[int] | Tensor, identity: Mapping[str, Any] | None = None
) -> list[str]:
    """Keys of photographs by their pixels, shape and grade, and by what else an inversion depends on.

    Two weighted sums of all pixels modulo 2^64, taken where the images are: a GPU sends two numbers a photograph. Their
    sha256 with the rest is the key, the same on every device.

    Args:
        images: `(B, 3, H, W)`.
        grades: `B` grades.
        identity: weights' sha256 and settings, plain JSON values.

    Examples:
        >>> eyes = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4), torch.zeros(3, 4, 4)])
        >>> one, two, again = photograph_keys(eyes, [0, 0, 0])
        >>> one == again, one == two, one == photograph_keys(eyes[:1], [1])[0]
        (True, False, False)
    """
    parts = [_pixel_sums(part) for part in images.detach().float().split(AT_A_TIME)]
    grade = torch.as_tensor(grades, device=images.device).long()
    numbers = torch.cat([torch.cat(parts), grade[:, None]], dim=1).tolist()
    head = json.dumps({"shape": list(images.shape[1:]), **(identity or {})}, sort_keys=True)
    return [hashlib.sha256(f"{head}{row}".encode()).hexdigest() for row in numbers]


def _pixel_sums(images: Tensor) -> Tensor:
    """`(B, 2)` sums of the bits of all pixels, weighted by odd random numbers along rows, then along columns."""
    words = images.contiguous().view(torch.int32).long()
    found = []
    for seed in range(2):
        random = torch.Generator().manual_seed(seed)
        along, across = (
            (torch.randint(-(2**63), 2**63 - 1, (size,), generator=random) | 1).to(images.device)
            for size in (words.shape[-1], math.prod(words.shape[1:-1]))
        )
        rows = (words * along).sum(-1).flatten(1)
        found.append(((rows ^ (rows >> 32)) * across).sum(1))  # high bits down, or later products lose them
    return torch.stack(found, dim=1)


class Kept(Protocol):
    """Anything that knows its size."""

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        ...


K = TypeVar("K", bound=Kept)


class EditCache(Generic[K]):
    """The photographs that were edited last, up to a limit of memory; safe for threads.

    Args:
        megabytes: limit; 0 keeps nothing.
        identity: what an entry depends on beside the photograph, plain JSON values: the sha256 of weights, settings.

    Examples:
        >>> from types import SimpleNamespace
        >>> def make(images, grades):
        ...     print(len(images), "made")
        ...     return [SimpleNamespace(bytes=2**19) for _ in images]
        >>> cache, eyes = EditCache(megabytes=2), torch.rand(3, 3, 8, 8)
        >>> found = [cache.entries(eyes[:count], torch.zeros(count), make) for count in (2, 3)]
        2 made
        1 made
    """

    def __init__(self, megabytes: float = 256, *, identity: Mapping[str, Any] | None = None) -> None:
        self.limit, self.identity = int(megabytes * 2**20), dict(identity or {})
        self._kept: OrderedDict[str, K] = OrderedDict()
        self._lock = ForkSafeLock()

    def entries(
        self, images: Tensor, grades: Sequence[int] | Tensor, make: Callable[[Tensor, Tensor], Sequence[K]]
    ) -> list[K]:
        """Entries of photographs `(B, 3, H, W)` with `B` grades; those that are missing are made in one batch."""
        grades = torch.as_tensor(grades)
        keys = photograph_keys(images, grades, self.identity)
        found = {key: entry for key in dict.fromkeys(keys) if (entry := self.get(key)) is not None}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing:
            rows = [keys.index(key) for key in missing]
            for key, made in zip(missing, make(images[rows], grades[rows]), strict=True):
                self.put(key, made)
                found[key] = made
        return [found[key] for key in keys]

    def get(self, key: str) -> K | None:
        """What is kept under `key`, or `None`."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: str, entry: K) -> None:
        """Keep it; those that were not used for the longest time give way."""
        with self._lock:
            self._kept[key] = entry
            self._kept.move_to_end(key)
            used = sum(each.bytes for each in self._kept.values())
            while self._kept and used > self.limit:
                used -= self._kept.popitem(last=False)[1].bytes

    def __getstate__(self) -> dict[str, Any]:
        return {"megabytes": self.limit / 2**20, "identity": self.identity}  # what is kept stays in its process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
