"""Progress of a training run in the log: epoch, loss, time an epoch, time left."""

from __future__ import annotations

import logging
import time

from ignite.engine import Engine, Events
from torch import Tensor

__all__ = ["ProgressHandler"]


class ProgressHandler:
    """Logs a line at the end of every epoch (every `interval` epochs), and a first estimate after one iteration.

    Args:
        interval: epochs between lines.
        name: name of the logger.
    """

    def __init__(self, *, interval: int = 1, name: str = "monai_retina_gen.training") -> None:
        self.interval, self.logger = interval, logging.getLogger(name)
        self._started, self._first_epoch = 0.0, 0
        self._loss_sum, self._loss_count = 0.0, 0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer whose output holds `loss`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    def _start(self, engine: Engine) -> None:
        self._started, self._first_epoch = time.monotonic(), engine.state.epoch

    def _add(self, engine: Engine) -> None:
        output = engine.state.output
        output = output[0] if isinstance(output, list) else output
        loss = output["loss"]  # summed on its device; read once an epoch
        self._loss_sum = self._loss_sum + (loss.detach() if isinstance(loss, Tensor) else loss)  # type: ignore[assignment]
        self._loss_count += 1

    def _report(self, engine: Engine) -> None:
        loss = float(self._loss_sum) / max(self._loss_count, 1)
        self._loss_sum, self._loss_count = 0.0, 0
        epoch, total = engine.state.epoch, engine.state.max_epochs or engine.state.epoch
        if epoch % self.interval and epoch != total:
            return
        seconds = (time.monotonic() - self._started) / max(epoch - self._first_epoch, 1)
        left = seconds * (total - epoch)
        self.logger.info(
            f"epoch {epoch}/{total}: loss {loss:.4g}, {seconds:.1f} s an epoch, "
            f"{int(left // 60)} min {int(left % 60)} s left"
        )
