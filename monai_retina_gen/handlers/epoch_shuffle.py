"""Shuffles a distributed sampler anew every epoch."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events

__all__ = ["EpochShuffleHandler"]


class EpochShuffleHandler:
    """Calls `sampler.set_epoch`; without it every epoch of a `DistributedSampler` has the same order.

    Args:
        sampler: a `torch.utils.data.DistributedSampler`.
    """

    def __init__(self, *, sampler: Any) -> None:
        self.sampler = sampler

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        self.sampler.set_epoch(engine.state.epoch)
