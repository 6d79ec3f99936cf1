"""Crops for training segmenters: masks stacked into one compact array, and random crops around rare structures.

`StackMasksd` is deterministic and its result is small (uint8), so that a caching data set holds all photographs;
`RandLesionCropd` and `UnpackMasksd` turn it into what networks and losses take. A small network trains faster than a
loader cuts crops for it: `LesionCropBatches` cuts and turns them on the device from photographs that lie there, a batch
by one gather and one `grid_sample`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Transform
from torch import Tensor
from torch.nn.functional import grid_sample

from monai_retina_gen.arguments import check_real, check_whole
from monai_retina_gen.data.lesion_rules import TOGETHER, annotated_lesions
from monai_retina_gen.data.plain_tensor import in_bytes, plain_tensor
from monai_retina_gen.transforms.worker_seeds import WorkerSeeded

NOT_ANNOTATED = 255  # masks hold 0 to 254, the share of a pixel that is covered


class StackMasksd(Transform):
    """Keeps the image and one stack of masks, both uint8.

    A structure whose key an item lacks is not annotated, unless it is a lesion that was looked for (see
    `annotated_lesions`): that is absent.

    Args:
        structures: keys of the masks, in the order of the network's channels.

    Returns:
        Items with `image` `(3, H, W)` and `label` `(structures, H, W)`; 255 in `label` is "not annotated".

    Examples:
        >>> item = {"image": torch.ones(3, 4, 4), "ex": torch.ones(1, 4, 4), "grade": 2}
        >>> stacked = StackMasksd(structures=["ma", "ex", "vessel"])(item)
        >>> sorted(stacked), stacked["label"][:, 0, 0].tolist()
        (['image', 'label'], [0, 254, 255])
    """

    def __init__(self, *, structures: Sequence[str]) -> None:
        self.structures = tuple(structures)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[str, Tensor]:
        image = plain_tensor(data["image"])
        looked_for = annotated_lesions(data)
        label = image.new_zeros((len(self.structures), *image.shape[1:]), dtype=torch.uint8)
        for channel, key in enumerate(self.structures):
            if key in data:
                label[channel] = (data[key][0] * (NOT_ANNOTATED - 1)).round().to(torch.uint8)
            elif key not in looked_for:
                label[channel] = NOT_ANNOTATED
        return {"image": in_bytes(image), "label": label}


class UnpackMasksd(MapTransform):
    """Turns what `StackMasksd` made into float32: `image` in [0, 1], `label` in [0, 1] and -1 where not annotated.

    Examples:
        >>> packed = {"image": torch.zeros(3, 2, 2).byte(), "label": torch.tensor([[[0, 254]], [[255, 255]]]).byte()}
        >>> UnpackMasksd()(packed)["label"].flatten().tolist()
        [0.0, 1.0, -1.0, -1.0]
    """

    def __init__(self) -> None:
        super().__init__(["image", "label"])

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item, label = dict(data), data["label"]
        item["image"] = data["image"].float() / 255
        item["label"] = torch.where(label == NOT_ANNOTATED, -1.0, label.float() / (NOT_ANNOTATED - 1))
        return item


class RandLesionCropd(WorkerSeeded, MapTransform):
    """Cuts a random square of image and masks, often around a structure that the photograph shows.

    The structure is drawn first, each as likely as any other that is there, then one of its pixels: a single
    microaneurysm is seen as often as the optic disc. The square is shifted at random about that pixel.

    Args:
        size: side of the crop in pixels, at most the photograph's.
        structures: keys of the label's channels.
        around: structures that crops are placed around.
        share: how many of the crops are, in [0, 1]; the others lie anywhere in the photograph.

    Raises:
        ValueError: for a share outside [0, 1], or a crop that is larger than the photograph.

    Examples:
        >>> crop = RandLesionCropd(size=8, structures=["ma"], around=["ma"], share=1.0).set_random_state(0)
        >>> label = torch.zeros(1, 32, 32).byte()
        >>> label[0, 20, 20] = 254
        >>> cut = crop({"image": torch.zeros(3, 32, 32).byte(), "label": label})
        >>> tuple(cut["image"].shape), float(cut["label"].sum())
        ((3, 8, 8), 1.0)
    """

    def __init__(
        self, *, size: int, structures: Sequence[str], around: Sequence[str] = TOGETHER, share: float = 0.75
    ) -> None:
        MapTransform.__init__(self, ["image", "label"])
        self.size, self.share = check_whole("size", size), check_real("share", share, least=0, most=1)
        self.channels = [channel for channel, key in enumerate(structures) if key in around]
        self.unpack = UnpackMasksd()

    def randomize(self, data: Tensor) -> tuple[int, int]:
        """Draw the upper left corner of the crop in a label `(structures, H, W)`; it is returned, for threads' sake."""
        self.settle_seed()
        limits = [side - self.size for side in data.shape[-2:]]
        if min(limits) < 0:
            raise ValueError(f"size={self.size} is larger than the photograph {tuple(data.shape[-2:])}")
        corner = [int(self.R.randint(limit + 1)) for limit in limits]
        shift = self.R.randint(self.size, size=2)
        present = [c for c in self.channels if 0 < int(data[c].max()) < NOT_ANNOTATED]
        if self.R.rand() < self.share and present:
            rows, columns = np.nonzero(data[present[self.R.randint(len(present))]].numpy())
            pixel = self.R.randint(len(rows))
            wanted = (rows[pixel] - shift[0], columns[pixel] - shift[1])
            corner = [int(min(max(w, 0), limit)) for w, limit in zip(wanted, limits, strict=True)]
        return corner[0], corner[1]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut and unpack (see `UnpackMasksd`)."""
        top, left = self.randomize(data["label"])
        box = (slice(None), slice(top, top + self.size), slice(left, left + self.size))
        return self.unpack({**data, "image": data["image"][box], "label": data["label"][box]})


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
