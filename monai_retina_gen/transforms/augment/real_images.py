"""The real images that plans are carried out for, with what belongs to them, and generated images at their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import interpolate

from monai_retina_gen.data.plain_tensor import plain_tensor
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.transforms.image_order import turned


@dataclass(frozen=True)
class RealImages:
    """`B` photographs, upright and without metadata, and masks `(B, 1, H, W)` by name.

    `groups` are for a cross-fitted gate; `others` are further keys of the items, which a canvas must have too.
    """

    images: Tensor
    masks: Mapping[str, Tensor]
    sources: list[str]
    groups: list[str | None]
    others: frozenset[Any] = frozenset()

    @classmethod
    def of_item(
        cls,
        image: Tensor,
        order: str,
        masks: Mapping[str, Tensor],
        group: str | None,
        others: frozenset[Any] = frozenset(),
    ) -> RealImages:
        """A batch of one item."""
        own = {name: turned(plain_tensor(mask), order)[None] for name, mask in masks.items()}
        return cls(turned(plain_tensor(image), order)[None], own, sources_of(image, 1), [group], others)

    def take(self, rows: Sequence[int]) -> RealImages:
        """Some of them."""
        if len(rows) == len(self.images):
            return self
        masks = {name: mask[list(rows)] for name, mask in self.masks.items()}
        sources, groups = [self.sources[i] for i in rows], [self.groups[i] for i in rows]
        return RealImages(self.images[list(rows)], masks, sources, groups, self.others)


def sources_of(image: Tensor, count: int) -> list[str]:
    """Paths of the files that one or `count` collated images were read from, whole: base names collide; else `""`."""
    named = getattr(image, "meta", {}).get("filename_or_obj", "")
    each = list(named) if isinstance(named, (list, tuple)) else [named]
    return [str(name) for name in each] if len(each) == count else [""] * count


def group_of(value: Any) -> str | None:
    """A group as graders know it, from a string, a number, or what collation made of it."""
    if isinstance(value, (Tensor, np.generic, np.ndarray)):
        value = value.item()
    return None if value is None else str(value)


def masks_of(item: Mapping[Any, Any], mask_keys: Sequence[str], allow_missing_keys: bool) -> dict[str, Tensor]:
    """The masks under `mask_keys` of an item or a batch.

    `KeyError` for one that it lacks, unless that is allowed; `ImageValueError` for one that is no tensor.
    """
    missing = [key for key in mask_keys if key not in item]
    if missing and not allow_missing_keys:
        raise KeyError(
            f"mask_keys: {missing} are not in the data, which has {sorted(map(str, item))}; leave them out of "
            "mask_keys, or pass allow_missing_keys=True"
        )
    masks = {key: item[key] for key in mask_keys if key in item}
    for key, mask in masks.items():
        if not isinstance(mask, (Tensor, np.ndarray)):
            raise ImageValueError(
                f"mask {key!r}: {type(mask).__name__} came, wanted a tensor; load the file with "
                "LoadFundusd(mask_keys=...), and leave the key out of items without it (allow_missing_keys=True)"
            )
    return masks


def fitted(image: Tensor, size: Sequence[int], *, allow_upsampling: bool = False) -> Tensor:
    """Images or masks `(B, C, S, S)` at another size, in [0, 1]; `ImageValueError` as `check_size`."""
    have = tuple(image.shape[-2:])
    if have == tuple(size):
        return image
    check_size(have, size, allow_upsampling=allow_upsampling)
    return interpolate(image, tuple(size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def check_size(have: Sequence[int], size: Sequence[int], *, allow_upsampling: bool = False) -> None:
    """Raise `ImageValueError` where images of size `have` cannot stand in for items of `size`."""
    if size[0] != size[1]:
        raise ImageValueError(
            f"items of {size[0]} x {size[1]} cannot take a generated square image; crop them with "
            "CropToFieldOfView[d](size=...) first"
        )
    if size[0] > have[0] and not allow_upsampling:
        raise ImageValueError(
            f"items of {size[0]} px are larger than the generator's {have[0]} px, whose images would be enlarged "
            f"to blur: resize the items to {have[0]} px before this transform, or pass allow_upsampling=True"
        )
