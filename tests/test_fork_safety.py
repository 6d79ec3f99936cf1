"""A forked child finds its locks free, and knows that it is one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from monai_retina_gen.fork_safety import ForkSafeLock, is_forked, put_in_order_after_fork

InFork = Callable[[Callable[[], Any]], Any]


def test_a_lock_that_another_thread_holds_is_free_in_the_child(in_fork: InFork) -> None:
    lock, taken, done = ForkSafeLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            done.wait()

    def enter() -> bool:
        with lock:
            return lock.locked()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        assert in_fork(enter) is True
        assert lock.locked(), "the parent's thread holds it still"
    finally:
        done.set()
        thread.join()


def test_things_are_put_in_order_in_the_child_alone(in_fork: InFork) -> None:
    class Counted:
        forks = 0

        def after_fork(self) -> None:
            self.forks += 1

    counted = Counted()
    put_in_order_after_fork(counted)
    assert in_fork(lambda: counted.forks) == 1
    assert counted.forks == 0
    assert (in_fork(is_forked), is_forked()) == (True, False)
