"""Stops a training whose losses are no longer numbers, and names the checkpoint to go back to."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_retina_gen.errors import TrainingDivergedError, WeightsError
from monai_retina_gen.weights import latest_checkpoint

__all__ = ["NaNGuardHandler"]


class NaNGuardHandler:
    """Raises `TrainingDivergedError` where a loss is NaN or infinite.

    The check stays on the device; it is read every `interval` iterations and at the end of every epoch. Attach it
    before the handlers that save, so that nothing is saved after a loss has gone.

    Args:
        ckpt_dir: folder of the checkpoints, to name the last good one.
        keys: losses in the engine's output.
        interval: iterations between two looks.
        logger: name of the logger.
    """

    def __init__(
        self,
        *,
        ckpt_dir: str | os.PathLike[str],
        keys: tuple[str, ...] = ("loss", "d_loss", "g_loss"),
        interval: int = 50,
        logger: str = "monai_retina_gen.training",
    ) -> None:
        self.folder, self.keys, self.interval = ckpt_dir, tuple(keys), interval
        self.logger = logging.getLogger(logger)
        self._finite: Tensor | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self._look)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._look)

    def _add(self, engine: Any) -> None:
        output = engine.state.output
        output = output[0] if isinstance(output, list) else output
        losses = [torch.as_tensor(output[key]).detach() for key in self.keys if key in output]
        finite = torch.stack([loss.isfinite().all() for loss in losses]).all()
        self._finite = finite if self._finite is None else self._finite & finite

    def _look(self, engine: Any) -> None:
        if self._finite is not None and not bool(self._finite):
            try:
                good = f"the last good checkpoint is {latest_checkpoint(self.folder, finite=True)}"
            except WeightsError:
                good = f"no good checkpoint lies in {os.fspath(self.folder)}"
            message = f"a loss became NaN or infinite by iteration {engine.state.iteration}; {good}"
            self.logger.error(message)
            raise TrainingDivergedError(message)
        self._finite = None
