"""What edits of photographs start from, kept in memory by their content."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from monai_retina_gen.fork_safety import ForkSafeLock

__all__ = ["EditCache", "image_key"]


class Kept(Protocol):
    """Anything that knows its size."""

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        ...


K = TypeVar("K", bound=Kept)


def image_key(image: Tensor, grade: int = 0) -> bytes:
    """Key of a photograph: a digest of its pixels, and of its grade where what is kept depends on it."""
    pixels = image.detach().float().cpu().contiguous().numpy().tobytes()
    return hashlib.blake2b(pixels + bytes([grade % 256]), digest_size=16).digest()


class EditCache(Generic[K]):
    """The photographs that were edited last, up to a limit of memory; safe for threads.

    Args:
        megabytes: limit; 0 keeps nothing.

    Examples:
        >>> from types import SimpleNamespace
        >>> cache = EditCache(megabytes=1)
        >>> cache.put(b"eye", SimpleNamespace(bytes=2**19, name="first"))
        >>> cache.put(b"other", SimpleNamespace(bytes=2**20, name="second"))
        >>> cache.get(b"eye") is None, cache.get(b"other").name
        (True, 'second')
    """

    def __init__(self, megabytes: float = 256) -> None:
        self.limit = int(megabytes * 2**20)
        self._kept: OrderedDict[bytes, K] = OrderedDict()
        self._lock = ForkSafeLock()

    def get(self, key: bytes) -> K | None:
        """What is kept under `key`, or `None`."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: bytes, start: K) -> None:
        """Keep it; those that were not used for the longest time give way."""
        with self._lock:
            self._kept[key] = start
            self._kept.move_to_end(key)
            used = sum(each.bytes for each in self._kept.values())
            while self._kept and used > self.limit:
                used -= self._kept.popitem(last=False)[1].bytes

    def __getstate__(self) -> dict[str, int]:
        return {"limit": self.limit}  # what is kept stays in its process

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(state["limit"] / 2**20)  # type: ignore[misc]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
