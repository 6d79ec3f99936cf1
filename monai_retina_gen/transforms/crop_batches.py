"""Batches of augmented crops for training segmenters, cut and turned on the device from photographs that lie there.

A small network trains faster than a loader cuts crops for it: here a batch is one gather and one `grid_sample`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from monai_retina_gen.arguments import check_real, check_whole
from monai_retina_gen.data.combine_masks import TOGETHER
from monai_retina_gen.transforms.lesion_crop import NOT_ANNOTATED

SHOWN = (NOT_ANNOTATED - 1) // 2  # of a pixel, from which on crops lie around it
SCALE, GAMMA, GAIN = (0.8, 1.25), (0.75, 1.33), 0.2


class LesionCropBatches:
    """One epoch of batches at each iteration, other ones each time; goes where a loader goes.

    A crop lies around a structure as `RandLesionCropd`'s do. With `augment` it is mirrored and turned by quarters, or,
    every second one, turned by any angle and scaled by 0.8 to 1.25; each half of them change their gamma (0.75 to 1.33)
    and the light of each colour (by up to 0.2).

    Args:
        items: photographs as `StackMasksd` makes them; kept on the device as uint8.
        size: side of the crops in pixels, an even number.
        batch_size: crops of a batch.
        batches: in one epoch.
        structures: keys of the label's channels.
        around: structures that crops are placed around.
        share: how many of the crops are.
        weights: of each photograph when photographs are drawn; equal where `None`.
        augment: `False` cuts and does nothing else.
        seed: of all draws, which are the same on every device.
        device: where photographs lie and crops are cut.

    Returns:
        In iteration: `image` `(B, 3, size, size)` in [0, 1] and `label` `(B, structures, size, size)` in [0, 1] and -1
        where not annotated.

    Raises:
        ValueError: for no photographs, an odd size or one above the photographs', or weights of another number.

    Examples:
        >>> item = {"image": torch.zeros(3, 32, 32).byte(), "label": torch.zeros(1, 32, 32).byte()}
        >>> item["label"][0, 20, 20] = 254
        >>> batches = LesionCropBatches([item], size=8, batch_size=4, batches=2, structures=["ma"], share=1.0)
        >>> [tuple(batch["label"].shape) for batch in batches]
        [(4, 1, 8, 8), (4, 1, 8, 8)]
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Tensor]],
        *,
        size: int,
        batch_size: int,
        batches: int,
        structures: Sequence[str],
        around: Sequence[str] = TOGETHER,
        share: float = 0.75,
        weights: Sequence[float] | Tensor | None = None,
        augment: bool = True,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.size, self.batch_size = check_whole("size", size), check_whole("batch_size", batch_size)
        self.batches, self.share = check_whole("batches", batches), check_real("share", share, least=0, most=1)
        self.augment, self.generator = augment, torch.Generator().manual_seed(seed)
        self.weights = torch.ones(len(items)) if weights is None else torch.as_tensor(weights, dtype=torch.float32)
        if not len(items) or len(self.weights) != len(items):
            raise ValueError(f"{len(items)} items and {len(self.weights)} weights came; want a weight for each item")
        label = torch.stack([torch.as_tensor(item["label"]) for item in items])
        if size % 2 or size > min(label.shape[-2:]):
            raise ValueError(f"size={size}: an even number up to the photographs' {tuple(label.shape[-2:])} is wanted")
        channels = [channel for channel, key in enumerate(structures) if key in around]
        self.pixels = torch.nonzero((label[:, channels] > SHOWN) & (label[:, channels] < NOT_ANNOTATED))
        places = self.pixels[:, 0] * len(channels) + self.pixels[:, 1]  # in order, as `nonzero` gives them
        self.counts = torch.bincount(places, minlength=len(items) * len(channels)).view(len(items), -1)
        self.starts = (self.counts.flatten().cumsum(0) - self.counts.flatten()).view_as(self.counts)
        self.known = (label[:, :, 0, 0] != NOT_ANNOTATED).to(device)
        images = torch.stack([torch.as_tensor(item["image"]) for item in items])
        self.planes = torch.cat([images, label.where(label != NOT_ANNOTATED, 0)], 1).to(device)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self.batches

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for _ in range(self.batches):
            yield self._batch()

    def _batch(self) -> dict[str, Tensor]:
        rows = torch.multinomial(self.weights, self.batch_size, replacement=True, generator=self.generator)
        grid, there = self._grid(rows), rows.to(self.planes.device)
        cut = grid_sample(self.planes[there].float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        known = self.known[there][:, :, None, None]
        label = torch.where(known, (cut[:, 3:] / (NOT_ANNOTATED - 1)).clamp(0, 1), -1.0)
        image = (cut[:, :3] / 255).clamp(0, 1)
        return {"image": self._other_light(image) if self.augment else image, "label": label}

    def _grid(self, rows: Tensor) -> Tensor:
        """Where each pixel of each crop lies in its photograph, `(B, size, size, 2)`, as `grid_sample` takes it."""
        device, sides = self.planes.device, torch.tensor(self.planes.shape[-2:])
        matrix = self._turns(len(rows)) if self.augment else torch.eye(2).expand(len(rows), 2, 2)
        middles = self._middles(rows, sides).to(device)
        steps = torch.arange(self.size, device=device) - (self.size - 1) / 2
        offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).view(-1, 2)
        # sums of two products, not a product of matrices, which some devices round to ten bits
        turned = (offsets[None, :, :, None] * matrix.to(device)[:, None]).sum(2)
        where = (turned + middles[:, None]) / sides.to(device)
        return (2 * where - 1).flip(-1).view(len(rows), self.size, self.size, 2)

    def _middles(self, rows: Tensor, sides: Tensor) -> Tensor:
        """Middles of crops, rows and columns: whole numbers, between pixels, so that a plain crop is not smoothed."""
        drawn = self._uniform(len(rows), 6)
        around = (drawn[:, 0] < self.share) & (self.counts[rows].sum(1) > 0)
        half = self.size // 2
        anywhere = half + (drawn[:, 1:3] * (sides - self.size + 1)).floor()
        present = (self.counts[rows] > 0).float()
        present[~around] = 1
        kind = torch.multinomial(present, 1, generator=self.generator)[:, 0]
        count, start = self.counts[rows, kind], self.starts[rows, kind]
        at = start + (drawn[:, 3] * count).long().clamp(max=(count - 1).clamp(min=0))
        shift = (drawn[:, 4:6] * self.size).floor() - half
        pixel = self.pixels[at.where(around, 0), 2:] - shift if len(self.pixels) else anywhere
        return pixel.where(around[:, None], anywhere).clamp(torch.tensor(half), sides - half)

    def _turns(self, count: int) -> Tensor:
        drawn = self._uniform(count, 4)
        free = drawn[:, 0] < 0.5
        quarters = (drawn[:, 1] * 4).floor() * math.pi / 2
        angle = torch.where(free, drawn[:, 1] * 2 * math.pi, quarters)
        scale = torch.where(free, SCALE[0] + drawn[:, 2] * (SCALE[1] - SCALE[0]), 1.0)
        cosine, sine = scale * angle.cos(), scale * angle.sin()
        mirror = torch.where(drawn[:, 3] < 0.5, -1.0, 1.0)
        return torch.stack([cosine * mirror, sine * mirror, -sine, cosine], 1).view(count, 2, 2)

    def _other_light(self, image: Tensor) -> Tensor:
        drawn = self._uniform(len(image), 6)
        gamma = torch.where(drawn[:, 0] < 0.5, GAMMA[0] + drawn[:, 1] * (GAMMA[1] - GAMMA[0]), 1.0)
        gain = torch.where(drawn[:, 2:3] < 0.5, 1 + GAIN * (2 * drawn[:, 3:6] - 1), 1.0)
        lit = image.clamp(min=1e-4) ** gamma.to(image)[:, None, None, None] * gain.to(image)[:, :, None, None]
        return lit.clamp(0, 1)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)
