"""Sheets of a painter during training: crops before, with their lesions taken away, drawn again, and with others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data.mask_picture import draw_masks
from monai_retina_gen.handlers.grid_handler import GridHandler
from monai_retina_gen.handlers.sample_grid import image_grid
from monai_retina_gen.networks import PAINTED_LESIONS, PAINTING_PLANES

__all__ = ["PaintingSheetHandler"]


class PaintingSheetHandler(GridHandler):
    """Writes `painting_<epoch>.png` every `interval` epochs and at the end, always of the same crops and seeds.

    One row a crop: the photograph; without its lesions; its lesions drawn again; the next crop's lesions instead; the
    masks of these.

    Args:
        painter: with `draw(photograph, own, wanted, seeds=...)` and a `network`, such as `HolePainter`.
        dataset: items with `image` and `masks`, uint8, as `RandPaintingCropd` gives them.
        output_dir: folder of the pictures.
        interval: epochs between sheets.
        rows: crops; each is drawn with its own seed from `seed` on.
        writer: TensorBoard's `SummaryWriter`, or `None`.
    """

    name = "painting"

    def __init__(
        self,
        *,
        painter: Any,
        dataset: Any,
        output_dir: str,
        interval: int = 10,
        rows: int = 8,
        seed: int = 0,
        writer: Any = None,
    ) -> None:
        super().__init__(generator=painter, output_dir=output_dir, interval=interval, writer=writer)
        self.dataset, self.rows, self.seed = dataset, min(rows, len(dataset)), seed

    def grid(self) -> Tensor:
        """The picture `(3, rows * H, 5 * W)`."""
        items = [self.dataset[i * len(self.dataset) // self.rows, self.seed + i] for i in range(self.rows)]
        device = next(self.generator.network.parameters()).device
        image, masks = (torch.stack([item[key] for item in items]).to(device).float() / 255 for key in KEYS)
        planes = dict(zip(PAINTING_PLANES, masks.split(1, dim=1), strict=True))
        own = {key: plane for key, plane in planes.items() if key != "paintable"}
        lesions = {key: planes[key] for key in PAINTED_LESIONS}
        none = {key: torch.zeros_like(mask) for key, mask in lesions.items()}
        others = {key: mask.roll(-1, 0) * planes["paintable"] for key, mask in lesions.items()}
        removed = self._painted(image, own, none)
        columns = [image, removed, self._painted(removed, {**own, **none}, lesions), self._painted(image, own, others)]
        columns.append(draw_masks({"fov": planes["fov"], "vessel": planes["vessel"], **others}))
        return image_grid(torch.stack(columns, dim=1).flatten(0, 1).clamp(0, 1).cpu(), columns=len(columns))

    def _painted(self, image: Tensor, own: dict[str, Tensor], wanted: dict[str, Tensor]) -> Tensor:
        drawn, change = self.generator.draw(image, own, wanted, seeds=range(self.rows))
        return torch.where(change > 0, drawn.clamp(0, 1), image)


KEYS = ("image", "masks")
