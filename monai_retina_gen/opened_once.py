"""Banks, generators and composers that are opened once per process and shared, as long as their files stay the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from monai_retina_gen.fork_safety import ForkSafeLock

T = TypeVar("T")


def file_stamps(paths: Iterable[str | os.PathLike[str]]) -> tuple[Hashable, ...]:
    """What changes when a file is written anew or replaced: place, size and times. Absent files are left out."""
    found = []
    for path in sorted(os.fspath(path) for path in paths):
        try:
            state = os.stat(path)
        except FileNotFoundError:
            continue
        # the time of change besides that of modification, which copying tools set back
        found.append((path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns))
    return tuple(found)


class OpenedOnce(Generic[T]):
    """Things by key, each with the state of its files; one whose files have changed is opened again.

    A process has its own: what a parent opened is opened again in a forked child.
    """

    def __init__(self) -> None:
        self._opened: dict[Hashable, tuple[Hashable, T]] = {}
        self._lock = ForkSafeLock()

    def get(self, key: Hashable, state: Hashable, open_it: Callable[[], T]) -> T:
        """The thing under `key`, opened where there is none in this `state`."""
        state = (os.getpid(), state)
        with self._lock:
            if key not in self._opened or self._opened[key][0] != state:
                self._opened[key] = (state, open_it())
            return self._opened[key][1]
