"""Masks of an item as the condition map of a mask-to-photograph generator."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Transform
from monai.utils import ensure_tuple
from torch import Tensor

from monai_retina_gen.data.condition_map import CONDITION_KEYS, condition_map, missing_masks
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.transforms.file_name import naming_file

__all__ = ["StackConditionMapd"]


class StackConditionMapd(Transform):
    """Keeps the image and the condition map, both uint8, so that a caching data set holds many photographs.

    Undo the 8 bits with MONAI's `ScaleIntensityRanged(keys=["image", "condition"], a_min=0, a_max=255, b_min=0,
    b_max=1)`, after random flips, which are cheaper on bytes.

    Args:
        image_key: key of the photograph `(3, H, W)` in [0, 1].
        mask_keys: masks `(1, H, W)` in [0, 1] that are read where the item has them; those it lacks are zero.
        keep: further keys of the item that are kept as they are.
        allow_missing_keys: whether an item may lack the photograph.

    Returns:
        Items with `image` `(3, H, W)`, `condition` `(9, H, W)` in the order of `CONDITION_KEYS`, and `missing`, the
        names of the masks that the item lacks, joined by commas.

    Raises:
        KeyError: for an item without the photograph.
        ImageValueError: for an item without any mask, or masks that differ in shape from each other or the photograph.

    Examples:
        >>> item = {"image": torch.ones(3, 4, 4), "vessel": torch.ones(1, 4, 4), "grade": 2}
        >>> stacked = StackConditionMapd()(item)
        >>> stacked["condition"].shape, int(stacked["condition"].max()), stacked["missing"][:6], stacked["grade"]
        (torch.Size([9, 4, 4]), 255, 'od,fov', 2)
    """

    def __init__(
        self,
        *,
        image_key: str = "image",
        mask_keys: Sequence[str] = CONDITION_KEYS,
        keep: Sequence[str] = ("grade", "seed"),
        allow_missing_keys: bool = False,
    ) -> None:
        self.image_key, self.mask_keys, self.keep = image_key, ensure_tuple(mask_keys), ensure_tuple(keep)
        self.allow_missing_keys = allow_missing_keys

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[str, Any]:
        masks = {key: data[key] for key in self.mask_keys if key in data}
        condition = condition_map(masks)
        item: dict[str, Any] = {key: data[key] for key in self.keep if key in data}
        if self.image_key in data or not self.allow_missing_keys:
            image = data[self.image_key]
            with naming_file(image):
                self._check_size(image, condition)
            item[self.image_key] = _bytes(image)
        return {**item, "condition": _bytes(condition), "missing": ",".join(missing_masks(masks))}

    def _check_size(self, image: Tensor, condition: Tensor) -> None:
        if image.shape[1:] != condition.shape[1:]:
            raise ImageValueError(
                f"{self.image_key!r} has size {tuple(image.shape[1:])}, its masks {tuple(condition.shape[1:])}: "
                "crop and resize both together (CropToFieldOfViewd with mask_keys)"
            )


def _bytes(values: Tensor) -> Tensor:
    return (values.as_subclass(Tensor) * 255).round().to(torch.uint8)
