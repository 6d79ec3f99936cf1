"""Crops for training segmenters: masks stacked into one compact array, and random crops around rare structures.

`StackMasksd` is deterministic and its result is small (uint8), so that a caching data set holds all photographs;
`RandLesionCropd` and `UnpackMasksd` turn it into what networks and losses take.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Transform
from torch import Tensor

from monai_retina_gen.arguments import check_real, check_whole
from monai_retina_gen.data.combine_masks import TOGETHER, annotated_lesions
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
        size: side of the crop in pixels.
        structures: keys of the label's channels.
        around: structures that crops are placed around.
        share: how many of the crops are; the others lie anywhere in the photograph.

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
