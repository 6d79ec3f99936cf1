"""What a run says: progress in the log, losses that are no longer numbers, metrics and generated images in files."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_retina_gen.data import RECORD_KEY, write_image, write_json, write_manifest
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.errors import TrainingDivergedError, WeightsError
from monai_retina_gen.weights import latest_checkpoint


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


class MetricsFileHandler:
    """Writes all of `engine.state.metrics` to one JSON file; MONAI's `MetricsSaver` writes a CSV file each."""

    first_process_only = True

    def __init__(self, *, path: str) -> None:
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json({name: _plain(value) for name, value in engine.state.metrics.items()}, self.path)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


class SaveGeneratedHandler:
    """Saves every image of a run as `grade<g>_seed<s>.png`.

    Args:
        output_dir: folder of the images and `manifest.json`.
        inferer: the evaluator's `GeneratorInferer`, whose last batch is written.
    """

    first_process_only = True

    def __init__(self, *, output_dir: str, inferer: Any) -> None:
        self.folder, self.inferer = Path(output_dir), inferer
        self._entries: list[tuple[str, GenerationRecord]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._save)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self._entries = []
        self.folder.mkdir(parents=True, exist_ok=True)

    def _save(self, engine: Engine) -> None:
        batch = self.inferer.last_batch
        for image, record in zip(batch.image, batch.records, strict=True):
            name = f"grade{record.grade}_seed{record.seed}.png"
            write_image(self.folder / name, image, text={RECORD_KEY: record.to_json()}, xmp=record.to_xmp())
            self._entries.append((name, record))

    def _finish(self, engine: Engine) -> None:
        write_manifest(self.folder, self._entries)
