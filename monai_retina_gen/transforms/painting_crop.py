"""Crops for training the painter of lesions: photograph and masks in one compact array, cut around lesions.

`StackPaintingd` is deterministic and its result is small (uint8), so that a caching data set holds all photographs;
`RandPaintingCropd` cuts. Holes are drawn on the device, for the whole batch (`PreparePaintingBatch`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from scipy import ndimage
from torch import Tensor

from monai_retina_gen.data.plain_tensor import in_bytes, plain_tensor
from monai_retina_gen.networks import PAINTED_LESIONS, paintable, uncovered
from monai_retina_gen.transforms.worker_seeds import WorkerSeeded

DARK = 0.05
"""Where no mask says so, brighter pixels are the field of view."""

COVERED = 0.4
"""Share of a pixel that a lesion covers, from which on it counts: a microaneurysm may not fill any pixel."""


class StackPaintingd(Transform):
    """Photograph, the masks that the painter reads, and where the lesions lie.

    Args:
        image_key: key of the photograph `(3, H, W)` in [0, 1]; masks are `(1, H, W)` in [0, 1] under `vessel`, `od`,
            `fov` and the names of `PAINTED_LESIONS`, where the item has them.
        keep: further keys of the item that are kept as they are.

    Items have `image` `(3, H, W)` and `masks` `(7, H, W)`, uint8, see `PAINTING_PLANES`, and `pieces` `(P, 3)`: lesion,
    row and column of the middle of every connected piece that may be painted.

    Examples:
        >>> item = {"image": torch.ones(3, 64, 64), "ex": torch.zeros(1, 64, 64)}
        >>> item["ex"][0, 30:33, 20:23] = 1
        >>> stacked = StackPaintingd()(item)
        >>> stacked["masks"].shape, stacked["pieces"].tolist()
        (torch.Size([7, 64, 64]), [[2, 31, 21]])
    """

    def __init__(self, *, image_key: str = "image", keep: Sequence[str] = ()) -> None:
        self.image_key, self.keep = image_key, tuple(keep)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[str, Any]:
        image = plain_tensor(data[self.image_key])
        empty = image.new_zeros(1, *image.shape[1:])
        field = plain_tensor(data["fov"]) if "fov" in data else (image.amax(0, keepdim=True) > DARK).float()
        disc = plain_tensor(data["od"])[None] if "od" in data else None
        allowed = paintable(field[None], disc)[0]
        lesions = {key: plain_tensor(data[key]) if key in data else empty for key in PAINTED_LESIONS}
        vessel = uncovered((plain_tensor(data["vessel"]) if "vessel" in data else empty)[None], lesions["he"][None])[0]
        masks = torch.cat([(field >= 0.5).float(), allowed, vessel, *lesions.values()])
        kept = {key: data[key] for key in self.keep if key in data}
        return kept | {
            self.image_key: in_bytes(image),
            "masks": in_bytes(masks),
            "pieces": _pieces(masks[3:] * allowed),
        }


class RandPaintingCropd(WorkerSeeded, Transform):
    """Cuts a random square, often around a lesion, turned and mirrored at random.

    The lesion is drawn first, each kind that the photograph shows as likely as the others, then one of its pieces: a
    single cotton-wool spot is seen as often as a hundred exudates.

    Args:
        size: side of the crop in pixels, at most the photograph's.
        share: how many of the crops lie around a lesion, where there is one; the others lie anywhere.

    Raises:
        ValueError: for a share outside [0, 1], or a crop that is larger than the photograph.

    Examples:
        >>> item = {"image": torch.zeros(3, 64, 64).byte(), "masks": torch.zeros(7, 64, 64).byte()}
        >>> crop = RandPaintingCropd(size=32).set_random_state(0)
        >>> crop({**item, "pieces": torch.zeros(0, 3).short()})["masks"].shape
        torch.Size([7, 32, 32])
    """

    def __init__(self, *, size: int, share: float = 0.8) -> None:
        if size < 1 or not 0 <= share <= 1:
            raise ValueError(f"size={size}, share={share}: want a positive size and a share in [0, 1]")
        self.size, self.share = size, share

    def randomize(self, data: Mapping[str, Tensor]) -> tuple[tuple[int, int], int, bool]:
        """Draw corner, quarter turns and mirroring; they are returned, so that threads cannot mix them."""
        self.settle_seed()
        limits = [side - self.size for side in data["masks"].shape[1:]]
        if min(limits) < 0:
            raise ValueError(f"size={self.size} is larger than the photograph {tuple(data['masks'].shape[1:])}")
        corner = [int(self.R.randint(limit + 1)) for limit in limits]
        shift, pieces = self.R.randint(self.size, size=2), data["pieces"].numpy()
        turns, mirrored = int(self.R.randint(4)), bool(self.R.randint(2))
        if self.R.rand() < self.share and len(pieces):
            places = pieces[pieces[:, 0] == self.R.choice(np.unique(pieces[:, 0]))]
            wanted = places[self.R.randint(len(places))][1:] - shift
            corner = [int(min(max(w, 0), limit)) for w, limit in zip(wanted, limits, strict=True)]
        return (corner[0], corner[1]), turns, mirrored

    def __call__(self, data: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cut."""
        drawn = self.randomize(data)
        return {key: self._cut(data[key], *drawn) for key in ("image", "masks")}

    def _cut(self, planes: Tensor, corner: tuple[int, int], turns: int, mirrored: bool) -> Tensor:
        top, left = corner
        crop = planes[:, top : top + self.size, left : left + self.size]
        crop = crop.flip(2) if mirrored else crop
        return torch.rot90(crop, turns, (1, 2)).contiguous()


def _pieces(lesions: Tensor) -> Tensor:
    found = []
    for kind, plane in enumerate((lesions >= COVERED).numpy()):
        labels, count = ndimage.label(plane, np.ones((3, 3)))
        middles = ndimage.center_of_mass(plane, labels, range(1, count + 1))
        found += [(kind, round(y), round(x)) for y, x in middles]
    return torch.tensor(found, dtype=torch.int16).view(-1, 3)
