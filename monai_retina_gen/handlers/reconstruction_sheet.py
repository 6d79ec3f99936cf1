"""Sheets of an autoencoder during training: photographs, and what it makes of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.handlers.grid_handler import GridHandler
from monai_retina_gen.handlers.sample_grid import image_grid

__all__ = ["ReconstructionSheetHandler"]


class ReconstructionSheetHandler(GridHandler):
    """Writes `reconstructions_<epoch>.png` every `interval` epochs and at the end.

    Three columns a photograph: itself, drawn from its styles alone, and with its detail.

    Args:
        network: a `StyleAutoencoder`.
        dataset: items with `image` `(3, S, S)` in [0, 1].
        output_dir: folder of the pictures.
        interval: epochs between sheets.
        count: photographs, spread over the data set.
        writer: TensorBoard's `SummaryWriter`, or `None`.
    """

    name = "reconstructions"

    def __init__(
        self, *, network: Any, dataset: Any, output_dir: str, interval: int = 10, count: int = 12, writer: Any = None
    ) -> None:
        super().__init__(
            generator=SimpleNamespace(network=network), output_dir=output_dir, interval=interval, writer=writer
        )
        self.dataset, self.count = dataset, min(count, len(dataset))

    def grid(self) -> Tensor:
        """The picture, two photographs a row."""
        network, total = self.generator.network, len(self.dataset)
        items = [torch.as_tensor(self.dataset[i * total // self.count]["image"]) for i in range(self.count)]
        image = torch.stack(items).to(next(network.parameters()).device).float()
        made = [(network.reconstruct(image * 2 - 1, detail=detail) + 1) / 2 for detail in (False, True)]
        columns = torch.stack([image, *made], dim=1).flatten(0, 1).clamp(0, 1)
        return image_grid(columns.cpu(), columns=3 * (2 if self.count % 2 == 0 else 1))
