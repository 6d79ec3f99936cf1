"""Which handlers run where, when several processes train together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from monai.handlers import (
    CheckpointSaver,
    ClassificationSaver,
    MetricsSaver,
    StatsHandler,
    TensorBoardImageHandler,
    TensorBoardStatsHandler,
)

__all__ = ["WRITERS", "handlers_of_process"]

WRITERS = (
    CheckpointSaver,
    ClassificationSaver,
    MetricsSaver,
    StatsHandler,
    TensorBoardImageHandler,
    TensorBoardStatsHandler,
)
"""MONAI's handlers that only write: files, or lines that every process would repeat."""


def handlers_of_process(handlers: Iterable[Any], *, rank: int) -> list[Any]:
    """The handlers that a process attaches: all of them in the first, none that only write in the others.

    Handlers of one's own run everywhere, as schedules, guards and averages must, unless they have an attribute
    `first_process_only` that is true.

    Args:
        handlers: handlers of an engine.
        rank: number of the process, from 0.

    Examples:
        >>> from monai.handlers import StatsHandler
        >>> class Mine:
        ...     def attach(self, engine): ...
        >>> own = Mine()
        >>> handlers_of_process([own, StatsHandler()], rank=1) == [own]
        True
    """
    return [each for each in handlers if rank == 0 or not _writes(each)]


def _writes(handler: Any) -> bool:
    return isinstance(handler, WRITERS) or bool(getattr(handler, "first_process_only", False))
