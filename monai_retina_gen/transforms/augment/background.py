"""Edits made in the background while a training runs: a bank by photograph that is filled and refreshed by one thread.

The training never waits: a photograph that has no edit yet stays as it is, and one is asked for. Which photographs have
edits at which step depends on time, so that a run cannot be repeated bit for bit; each edit can, from its record.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from monai_retina_gen.editing.photograph_cache import photograph_keys
from monai_retina_gen.fork_safety import put_in_order_after_fork
from monai_retina_gen.transforms.augment.policy import AugmentationPlan

Make = Callable[..., Any]
WAITING = "its first edit is being made in the background"
"""Why a photograph stays as it is."""


class BackgroundEdits:
    """A bank of edits that a thread fills, which may work for a `share` of the time.

    `make` gives the outcome of a plan for a photograph `(3, H, H)`, from these two and what `take` gets besides. Of
    each photograph some edits are kept, a further one replaces the oldest; photographs that came by the longest time
    ago give way where memory or queue are full.
    """

    def __init__(
        self,
        make: Make,
        *,
        share: float = 0.02,
        per_photograph: int = 4,
        waiting: int = 64,
        megabytes: float = 512,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"background {share}: want the share of the time that edits may take, above 0 and up to 1")
        self.make, self.share, self.per_photograph, self.waiting = make, share, per_photograph, waiting
        self.limit = int(megabytes * 2**20)
        self._kept: OrderedDict[str, list[Any]] = OrderedDict()
        self._used = 0
        self.after_fork()
        put_in_order_after_fork(self)

    def after_fork(self) -> None:
        """Nothing asked for, nobody at work: the thread, and what it held, stay with the parent."""
        self._queue: OrderedDict[str, tuple[Any, ...]] = OrderedDict()
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        self.error: BaseException | None = None

    def take(self, plan: AugmentationPlan, image: Tensor, *rest: Any) -> Any | None:
        """An edit of the photograph that the plan's seed chooses, or `None`; and one more is asked for.

        `RuntimeError` if the thread failed, and in a worker process of a `DataLoader`, which ends with its epoch, as a
        rule before its first edit is ready.
        """
        _refuse_worker_process()
        if self.error is not None:
            raise RuntimeError(f"edits in the background failed: {self.error}") from self.error
        key = photograph_keys(image[None], [plan.grade])[0]
        with self._change:
            if len(self._queue) < self.waiting and key not in self._queue:
                self._queue[key] = (plan, image.detach().clone(), *rest)
                self._start()
                self._change.notify_all()
            made = self._kept.get(key)
            if not made:
                return None
            self._kept.move_to_end(key)
            return made[plan.seed % len(made)]

    def finish(self) -> None:
        """Wait until all that was asked for is made."""
        with self._change:
            while (self._queue or self._busy) and self.error is None:
                self._change.wait(0.05)

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="background edits", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            with self._change:
                if not self._queue and not self._change.wait_for(lambda: bool(self._queue), timeout=5.0):
                    self._thread = None
                    return
                key, asked = self._queue.popitem(last=False)
                self._busy = True
            started = time.monotonic()
            try:
                self._keep(key, self.make(*asked))
            except BaseException as error:
                self.error = error
            finally:
                with self._change:
                    self._busy = False
                    self._change.notify_all()
            if self.error is not None:
                return
            time.sleep((time.monotonic() - started) * (1 / self.share - 1))

    def _keep(self, key: str, outcome: Any) -> None:
        with self._change:
            made = self._kept.setdefault(key, [])
            made.append(outcome)
            self._used += _size(outcome)
            if len(made) > self.per_photograph:
                self._used -= _size(made.pop(0))
            while self._used > self.limit and len(self._kept) > 1:
                self._used -= sum(_size(each) for each in self._kept.popitem(last=False)[1])

    def __getstate__(self) -> dict[str, Any]:
        return {
            "make": self.make,
            "share": self.share,
            "per_photograph": self.per_photograph,
            "waiting": self.waiting,
            "megabytes": self.limit / 2**20,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state.pop("make"), **state)  # type: ignore[misc]


def _refuse_worker_process() -> None:
    # a worker that is a thread (`use_thread_workers`) is not the main thread of its process
    is_process = multiprocessing.parent_process() is not None and threading.current_thread() is threading.main_thread()
    if get_worker_info() is not None and is_process:
        raise RuntimeError(
            "background: edits are made ahead by a thread of the process that trains, and this is a worker process of "
            "a DataLoader, which ends with its epoch, before an edit is ready. Use num_workers=0, or "
            "monai.data.ThreadDataLoader(..., num_workers=N, use_thread_workers=True), whose workers are threads of "
            "the training process, or a bank made ahead (`monai-retina-gen expand`, then bank=DIR)"
        )


def _size(outcome: Any) -> int:
    tensors: Sequence[Any] = [outcome, getattr(outcome, "image", None), *getattr(outcome, "masks", {}).values()]
    return sum(x.nbytes for x in tensors if isinstance(x, torch.Tensor))
