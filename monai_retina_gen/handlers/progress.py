"""Progress of a training run in the log: epoch, loss, time an epoch, time left."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch
from ignite.engine import Engine, Events
from torch import Tensor

__all__ = ["ProgressHandler"]


class ProgressHandler:
    """Logs a line at the end of every epoch (every `interval` epochs), and a first estimate after one iteration.

    Args:
        interval: epochs between lines.
        keys: losses in the engine's output whose means are logged.
        name: name of the logger.
    """

    first_process_only = True

    def __init__(
        self, *, interval: int = 1, keys: Sequence[str] = ("loss",), name: str = "monai_retina_gen.training"
    ) -> None:
        self.interval, self.keys, self.logger = interval, tuple(keys), logging.getLogger(name)
        self._started, self._first_epoch = 0.0, 0
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer whose output holds `loss`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    def _start(self, engine: Engine) -> None:
        self._started = 0.0

    def _start_epoch(self, engine: Engine) -> None:
        if not self._started:  # only now is the epoch known from which a resumed run goes on
            self._started, self._first_epoch = time.monotonic(), engine.state.epoch - 1

    def _add(self, engine: Engine) -> None:
        output = engine.state.output
        output = output[0] if isinstance(output, list) else output
        for key in self.keys:
            # A penalty is not there at every step. Sums stay on the device and are read once an epoch.
            if key in output:
                self._sums[key] = self._sums.get(key, 0.0) + torch.as_tensor(output[key]).detach()
                self._counts[key] = self._counts.get(key, 0) + 1

    def _report(self, engine: Engine) -> None:
        means = {key: float(total) / self._counts[key] for key, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        epoch, total = engine.state.epoch, engine.state.max_epochs or engine.state.epoch
        if epoch % self.interval and epoch != total:
            return
        seconds = (time.monotonic() - self._started) / max(epoch - self._first_epoch, 1)
        left = seconds * (total - epoch)
        losses = ", ".join(f"{key} {value:.4g}" for key, value in means.items())
        self.logger.info(
            f"epoch {epoch}/{total}: {losses}, {seconds:.1f} s an epoch, {int(left // 60)} min {int(left % 60)} s left"
        )
