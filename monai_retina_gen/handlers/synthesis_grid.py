"""Grids of a mask-to-photograph generator during training: photograph, its masks, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from monai_retina_gen.data import CONDITION_KEYS, icdr_grade
from monai_retina_gen.data.mask_picture import draw_masks
from monai_retina_gen.handlers.grid_handler import GridHandler
from monai_retina_gen.handlers.sample_grid import image_grid

__all__ = ["SynthesisGridHandler", "condition_picture"]


def condition_picture(condition: Tensor) -> Tensor:
    """Condition maps in colours.

    Args:
        condition: `(B, 9, H, W)` in [0, 1].

    Returns:
        `(B, 3, H, W)` in [0, 1].

    Examples:
        >>> condition_picture(torch.zeros(1, 9, 4, 4)).shape
        torch.Size([1, 3, 4, 4])
    """
    return draw_masks({key: condition[:, i : i + 1] for i, key in enumerate(CONDITION_KEYS)})


class SynthesisGridHandler(GridHandler):
    """Writes `synthesis_<epoch>.png` every `interval` epochs and at the end, always of the same items and seeds.

    One row an item: the photograph, its masks, and images of them at the item's grade.

    Args:
        generator: with `images(condition, grades, seeds)`; its network is put into evaluation mode meanwhile.
        dataset: items with `image`, `condition` and `grade`, in [0, 1].
        output_dir: folder of the pictures.
        interval: epochs between grids.
        rows: items, spread over the data set.
        samples: images of each.
        writer: TensorBoard's `SummaryWriter`, or `None`.

    Attributes:
        reduction: see `PrepareConditionBatch`.
    """

    name = "synthesis"

    def __init__(
        self,
        *,
        generator: Any,
        dataset: Sequence[Any],
        output_dir: str,
        interval: int = 10,
        rows: int = 6,
        samples: int = 2,
        writer: Any = None,
    ) -> None:
        super().__init__(generator=generator, output_dir=output_dir, interval=interval, writer=writer)
        self.dataset, self.rows, self.samples = dataset, min(rows, len(dataset)), samples
        self.reduction = 1

    def grid(self) -> Tensor:
        """The picture `(3, rows * H, (2 + samples) * W)`."""
        items = [self.dataset[i * len(self.dataset) // self.rows] for i in range(self.rows)]
        image, condition = (torch.stack([torch.as_tensor(i[key]).float() for i in items]) for key in KEYS)
        if self.reduction > 1:
            image, condition = avg_pool2d(image, self.reduction), avg_pool2d(condition, self.reduction)
        grades, n = torch.tensor([icdr_grade(item) for item in items]), self.samples
        made = self.generator.images(
            condition.repeat_interleave(n, 0), grades.repeat_interleave(n), list(range(self.rows * n))
        ).cpu()
        columns = [image[:, None], condition_picture(condition)[:, None], made.unflatten(0, (self.rows, n))]
        return image_grid(torch.cat(columns, dim=1).flatten(0, 1).clamp(0, 1), columns=2 + n)


KEYS = ("image", "condition")
