"""Pictures drawn during training: samples, and sheets of what is made of photographs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor
from torch.nn.functional import avg_pool2d

from monai_retina_gen.data import CONDITION_KEYS, icdr_grade, write_image
from monai_retina_gen.data.condition_map import draw_masks
from monai_retina_gen.data.sampling import spread
from monai_retina_gen.networks import PAINTED_LESIONS, PAINTING_PLANES


def image_grid(images: Tensor, columns: int) -> Tensor:
    """Images `(N, 3, H, W)` side by side, `columns` (a divisor of N) in a row: `(3, N / columns * H, columns * W)`."""
    rows = images.unflatten(0, (-1, columns))
    return rows.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)


def condition_picture(condition: Tensor) -> Tensor:
    """Condition maps `(B, 9, H, W)` in [0, 1] in colours, `(B, 3, H, W)`."""
    return draw_masks({key: condition[:, i : i + 1] for i, key in enumerate(CONDITION_KEYS)})


class SheetHandler(ABC):
    """Writes `<name>_<epoch>.png` every `interval` epochs and at the end; subclasses draw it in `grid`.

    Args:
        generator: has a `network`, which is put into evaluation mode meanwhile.
        output_dir: folder of the pictures.
        interval: epochs between them.
        writer: TensorBoard's `SummaryWriter`, or `None`.
    """

    name = "grid"
    first_process_only = True

    def __init__(self, *, generator: Any, output_dir: str, interval: int = 10, writer: Any = None) -> None:
        self.generator, self.folder, self.interval, self.writer = generator, Path(output_dir), interval, writer

    def attach(self, engine: Engine) -> None:
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


class SampleGridHandler(SheetHandler):
    """Writes `samples_<epoch>.png`, always from the same seeds: `columns` samples of each grade in a row.

    `options` go to the generator's `sample`; `where` is as in `SheetHandler`.
    """

    name = "samples"

    def __init__(
        self,
        *,
        grades: Sequence[int] = (0, 1, 2, 3, 4),
        columns: int = 8,
        options: dict[str, Any] | None = None,
        **where: Any,
    ) -> None:
        super().__init__(**where)
        self.grades = [g for g in grades for _ in range(columns)]
        self.columns, self.options = columns, dict(options or {})

    def grid(self) -> Tensor:
        made = self.generator.sample(self.grades, seeds=list(range(len(self.grades))), **self.options)
        return image_grid(made.image.cpu(), self.columns)


class SynthesisGridHandler(SheetHandler):
    """Writes `synthesis_<epoch>.png`, always of the same items and seeds.

    One row an item: the photograph, its masks, and images of them at the item's grade.

    Args:
        dataset: items with `image`, `condition` and `grade`, in [0, 1].
        rows: items, spread over the data set.
        samples: images of each.
        where: see `SheetHandler`; the generator has `images(condition, grades, seeds)`. `reduction` is set as that of
            `PrepareConditionBatch`.
    """

    name = "synthesis"

    def __init__(self, *, dataset: Sequence[Any], rows: int = 6, samples: int = 2, **where: Any) -> None:
        super().__init__(**where)
        self.dataset, self.rows, self.samples, self.reduction = dataset, spread(len(dataset), rows), samples, 1

    def grid(self) -> Tensor:
        items, n = [self.dataset[row] for row in self.rows], self.samples
        image, condition = (
            torch.stack([torch.as_tensor(item[key]).float() for item in items]) for key in ("image", "condition")
        )
        if self.reduction > 1:
            image, condition = avg_pool2d(image, self.reduction), avg_pool2d(condition, self.reduction)
        grades = torch.tensor([icdr_grade(item) for item in items]).repeat_interleave(n)
        made = self.generator.images(condition.repeat_interleave(n, 0), grades, list(range(len(grades)))).cpu()
        columns = [image[:, None], condition_picture(condition)[:, None], made.unflatten(0, (len(items), n))]
        return image_grid(torch.cat(columns, dim=1).flatten(0, 1).clamp(0, 1), columns=2 + n)


class PaintingSheetHandler(SheetHandler):
    """Writes `painting_<epoch>.png`, always of the same crops and seeds.

    One row a crop: the photograph; without its lesions; its lesions drawn again; the next crop's lesions instead; the
    masks of these.

    Args:
        painter: with `draw(photograph, own, wanted, seeds=...)` and a `network`, such as `HolePainter`.
        dataset: items with `image` and `masks`, uint8, as `RandPaintingCropd` gives them.
        rows: crops, each drawn with its own seed.
        seed: of the first crop.
        where: `output_dir`, `interval`, `writer`: see `SheetHandler`.
    """

    name = "painting"

    def __init__(self, *, painter: Any, dataset: Any, rows: int = 8, seed: int = 0, **where: Any) -> None:
        super().__init__(generator=painter, **where)
        self.dataset, self.rows, self.seed = dataset, spread(len(dataset), rows), seed

    def grid(self) -> Tensor:
        items = [self.dataset[row, self.seed + i] for i, row in enumerate(self.rows)]
        device = next(self.generator.network.parameters()).device
        image, masks = (
            torch.stack([item[key] for item in items]).to(device).float() / 255 for key in ("image", "masks")
        )
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
        drawn, change = self.generator.draw(image, own, wanted, seeds=range(len(self.rows)))
        return torch.where(change > 0, drawn.clamp(0, 1), image)


class ReconstructionSheetHandler(SheetHandler):
    """Writes `reconstructions_<epoch>.png`: photographs, drawn from their styles alone, and with their detail.

    `network` is a `StyleAutoencoder`, `dataset` has items with `image` `(3, S, S)` in [0, 1], of which `count` are
    drawn.
    """

    name = "reconstructions"

    def __init__(self, *, network: Any, dataset: Any, count: int = 12, **where: Any) -> None:
        super().__init__(generator=SimpleNamespace(network=network), **where)
        self.dataset, self.rows = dataset, spread(len(dataset), count)

    def grid(self) -> Tensor:
        network = self.generator.network
        items = [torch.as_tensor(self.dataset[row]["image"]) for row in self.rows]
        image = torch.stack(items).to(next(network.parameters()).device).float()
        made = [(network.reconstruct(image * 2 - 1, detail=detail) + 1) / 2 for detail in (False, True)]
        columns = torch.stack([image, *made], dim=1).flatten(0, 1).clamp(0, 1)
        return image_grid(columns.cpu(), columns=3 * (2 if len(items) % 2 == 0 else 1))
