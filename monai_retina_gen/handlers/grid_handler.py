"""What handlers that draw pictures during training have in common: when, where to, and the mode of the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_retina_gen.data import write_image

__all__ = ["GridHandler"]


class GridHandler(ABC):
    """Writes `<name>_<epoch>.png` every `interval` epochs and at the end; subclasses draw it in `grid`.

    Args:
        generator: has a `network`, which is put into evaluation mode meanwhile.
        output_dir: folder of the pictures.
        interval: epochs between them.
        writer: TensorBoard's `SummaryWriter`, or `None`.
    """

    name = "grid"

    first_process_only = True

    def __init__(self, *, generator: Any, output_dir: str, interval: int, writer: Any) -> None:
        self.generator, self.folder, self.interval, self.writer = generator, Path(output_dir), interval, writer

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval) | Events.COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        network = self.generator.network
        training = network.training
        network.eval()
        grid = self.grid()
        network.train(training)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_image(self.folder / f"{self.name}_{engine.state.epoch:04d}.png", grid)
        if self.writer is not None:
            self.writer.add_image(self.name, grid, engine.state.epoch)

    @abstractmethod
    def grid(self) -> Tensor:
        """The picture, `(3, H, W)` in [0, 1]."""
