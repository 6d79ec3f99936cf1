"""Locks and threads across a fork: the child has no other thread of the parent, and what they held stays held."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol


class _HasThreads(Protocol):
    def after_fork(self) -> None: ...


_forked = False
_watched: weakref.WeakSet[Any] = weakref.WeakSet()


def put_in_order_after_fork(thing: _HasThreads) -> None:
    """Have `thing.after_fork()` called in every child that this process forks, for as long as `thing` lives."""
    _watched.add(thing)


def is_forked() -> bool:
    """Whether this process is the child of a fork; a start method's name does not tell it in all cases."""
    return _forked


def _in_child() -> None:
    global _forked
    _forked = True
    for thing in list(_watched):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_in_child)


class ForkSafeLock:
    """A lock that is free in a forked child, whoever held it in the parent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        put_in_order_after_fork(self)

    def after_fork(self) -> None:
        """The child's own lock."""
        self._lock = threading.Lock()

    def locked(self) -> bool:
        """Whether a thread holds it."""
        return self._lock.locked()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
