"""What is done anew every epoch, and which handlers run where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.handlers import (
    CheckpointSaver,
    ClassificationSaver,
    MetricsSaver,
    StatsHandler,
    TensorBoardImageHandler,
    TensorBoardStatsHandler,
)
from torch import Tensor

from monai_retina_gen.networks import FundusVAE, PerGradeVAE


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


class FitPriorHandler:
    """Fits the prior from the training photographs and their mirror images, every `interval` epochs and at the end.

    Attach it before the handlers that validate and save, so that what they see has the prior of its weights.

    Args:
        vae: the network.
        data: batches with `image` and `grade`: the training batches themselves, mirrored as the network saw them.
        interval: epochs between fits.
    """

    def __init__(self, *, vae: FundusVAE | PerGradeVAE, data: Iterable[dict[str, Any]], interval: int = 1) -> None:
        self.vae, self.data, self.interval = vae, data, interval

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval) | Events.COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        training, device = self.vae.training, next(self.vae.parameters()).device
        self.vae.eval()
        columns: list[tuple[Tensor, ...]] = []
        for batch in self.data:
            image, grade = torch.as_tensor(batch["image"]).to(device), batch["grade"].long().to(device)
            mean, log_variance = self.vae.encode(image, grade)
            mirrored, _ = self.vae.encode(image.flip(-1), grade)
            columns.append((mean, mirrored, log_variance.exp(), grade))
        # Every process has encoded its share of the photographs; all fit the same prior to the whole.
        gathered = [idist.all_gather(torch.cat(column)) for column in zip(*columns, strict=True)]
        self.vae.fit_prior(*(torch.as_tensor(column) for column in gathered))
        self.vae.train(training)


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
