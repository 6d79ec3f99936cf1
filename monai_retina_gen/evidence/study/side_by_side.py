"""Work shared out to processes of one machine that are forked, so that what was read before is read once for all."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import torch

Row = TypeVar("Row")
Made = TypeVar("Made")
_function: Callable[[Any], Any] | None = None


def mapped(function: Callable[[Row], Made], rows: Sequence[Row], jobs: int) -> list[Made]:
    """`function` of each row, begun in their order, in `jobs` processes; with one job in this process.

    What it leaves in memory is lost where there are several. A process that has begun to use a GPU cannot be forked.
    Where it fails for a row, the others are done before the error is raised.
    """
    global _function
    if jobs <= 1 or not rows:  # one row too goes to a process: this one must not begin to use the GPU
        return [function(row) for row in rows]
    if "fork" not in multiprocessing.get_all_start_methods():
        raise ValueError("jobs: this system cannot fork processes; use one")
    _function = function  # a fork has it, also where it could not be sent to another process
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(min(jobs, len(rows)), context, torch.set_num_threads, (1,)) as pool:
        done = [pool.submit(_call, row) for row in rows]
    return [each.result() for each in done]


def _call(row: Any) -> Any:
    assert _function is not None  # set before the fork
    return _function(row)
