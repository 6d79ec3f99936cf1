"""Sample grids from fixed latents during training: one row a grade, as PNG and in TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from monai_retina_gen.handlers.grid_handler import GridHandler

__all__ = ["SampleGridHandler", "image_grid"]


def image_grid(images: Tensor, columns: int) -> Tensor:
    """Images side by side.

    Args:
        images: `(N, 3, H, W)`, N a multiple of `columns`.
        columns: images in a row.

    Returns:
        `(3, N / columns * H, columns * W)`.

    Examples:
        >>> import torch
        >>> image_grid(torch.zeros(6, 3, 4, 4), columns=3).shape
        torch.Size([3, 8, 12])
    """
    rows = images.unflatten(0, (-1, columns))
    return rows.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)


class SampleGridHandler(GridHandler):
    """Writes `samples_<epoch>.png` every `interval` epochs and at the end, always from the same seeds.

    Args:
        generator: a generator that samples; its network is put into evaluation mode meanwhile.
        output_dir: folder of the pictures.
        interval: epochs between grids.
        grades: one row each.
        columns: samples a grade.
        writer: TensorBoard's `SummaryWriter`, or `None`.
        options: options of the generator's `sample`.
    """

    name = "samples"

    def __init__(
        self,
        *,
        generator: Any,
        output_dir: str,
        interval: int = 10,
        grades: Sequence[int] = (0, 1, 2, 3, 4),
        columns: int = 8,
        writer: Any = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.options = dict(options or {})
        super().__init__(generator=generator, output_dir=output_dir, interval=interval, writer=writer)
        self.grades = [g for g in grades for _ in range(columns)]
        self.seeds, self.columns = list(range(len(self.grades))), columns

    def grid(self) -> Tensor:
        """The picture `(3, grades * H, columns * W)`."""
        made = self.generator.sample(self.grades, seeds=self.seeds, **self.options)
        return image_grid(made.image.cpu(), self.columns)
