"""Fits a variational autoencoder's prior to its aggregate posterior before weights are saved."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_retina_gen.networks import FundusVAE, PerGradeVAE

__all__ = ["FitPriorHandler"]


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
