"""Work shared out to processes of one machine that are forked, so that what was read before is read once for all."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

__all__ = ["each", "mapped"]

Row = TypeVar("Row")
Made = TypeVar("Made")


def each(work: Callable[[int], None], count: int, jobs: int) -> None:
    """`work(0)` to `work(count - 1)`, begun in this order, each once.

    Args:
        work: what is to be done; what it leaves in memory is lost where there are several processes.
        count: how often.
        jobs: processes; 1 is this one. A process that has begun to use a GPU cannot be forked.

    Raises:
        RuntimeError: where a process failed; the others have ended their work.
        ValueError: for several processes where the system cannot fork.
    """
    if jobs <= 1:
        for number in range(count):
            work(number)
        return
    context = _forking()
    waiting = context.Value("l", 0)
    processes = [context.Process(target=_share, args=(work, count, waiting)) for _ in range(min(jobs, count))]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    failed = sum(process.exitcode != 0 for process in processes)
    if failed:
        raise RuntimeError(f"{failed} of {len(processes)} processes failed; what went wrong stands above")


def _share(work: Callable[[int], None], count: int, waiting: Any) -> None:
    torch.set_num_threads(1)
    while True:
        with waiting.get_lock():
            number, waiting.value = waiting.value, waiting.value + 1
        if number >= count:
            return
        work(number)


def mapped(function: Callable[[Row], Made], rows: Sequence[Row], jobs: int) -> list[Made]:
    """`function` of each row, in their order; as `each`.

    Examples:
        >>> mapped(abs, [-1, 2], jobs=1)
        [1, 2]
    """
    if jobs <= 1 or len(rows) < 2:
        return [function(row) for row in rows]
    with _forking().Pool(min(jobs, len(rows)), torch.set_num_threads, (1,)) as pool:
        return pool.map(function, rows, chunksize=4)


def _forking() -> Any:
    if "fork" not in multiprocessing.get_all_start_methods():
        raise ValueError("jobs: this system cannot fork processes; use one")
    return multiprocessing.get_context("fork")
