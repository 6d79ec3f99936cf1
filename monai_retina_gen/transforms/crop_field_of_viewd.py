"""Cropping the photographs and masks of an item to the retina together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import ensure_tuple

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.transforms.crop_field_of_view import CropToFieldOfView
from monai_retina_gen.transforms.file_name import naming_file

__all__ = ["CropToFieldOfViewD", "CropToFieldOfViewDict", "CropToFieldOfViewd"]


class CropToFieldOfViewd(MapTransform, InvertibleTransform):
    """Dictionary form of `CropToFieldOfView`: the first image decides the box, all others and the masks follow.

    Args:
        keys: photographs of one size.
        mask_keys: masks (C, H, W) of the same size; averaged over areas, so that soft masks stay in [0, 1].
        size: side of the results in pixels; None keeps the resolution.
        margin: widens the square on every side by this share of the radius.
        image_order: `"CHW"`, `"CWH"` (MONAI's `LoadImaged`), or None to read it from the metadata.
        unsqueeze: resize an ellipse to a circle, images and masks alike.
        allow_upsampling: let `size` be larger than the longer side of the retina.
        allow_missing_keys: leave out keys that an item lacks.

    Examples:
        >>> from monai_retina_gen.data import phantom_fundus
        >>> item = {"image": phantom_fundus(seed=1, size=64).image}
        >>> item = CropToFieldOfViewd(keys="image", size=32, image_order="CHW")(item)
        >>> tuple(item["image"].shape)
        (3, 32, 32)
    """

    backend = CropToFieldOfView.backend

    def __init__(
        self,
        keys: KeysCollection,
        *,
        mask_keys: KeysCollection = (),
        size: int | None = None,
        margin: float = 0.0,
        image_order: str | None = None,
        unsqueeze: bool = True,
        allow_upsampling: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mask_keys: tuple[Hashable, ...] = ensure_tuple(mask_keys)
        self.cropper = CropToFieldOfView(
            size=size,
            margin=margin,
            image_order=image_order,
            unsqueeze=unsqueeze,
            allow_upsampling=allow_upsampling,
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, MetaTensor]:
        """Crop the images and masks of an item."""
        item = dict(data)
        present = self._present(item)
        if not present:
            return item
        if present[0] in self.mask_keys:
            raise KeyError(f"keys: the item has masks {present} but none of the images {list(self.keys)}")
        field_of_view = self.cropper.find(item[present[0]])
        with naming_file(item[present[0]]):
            for key in present:
                self._check_frame(key, item[key], present[0], item[present[0]])
        for key in present:
            item[key] = self.cropper.apply(item[key], field_of_view, mask=key in self.mask_keys)
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, MetaTensor]:
        """Put images and masks back into frames of the original size, on black."""
        item = dict(data)
        for key in self._present(item):
            item[key] = self.cropper.inverse(item[key])
        return item

    def _present(self, item: Mapping[Hashable, Any]) -> list[Hashable]:
        wanted = [*self.keys, *self.mask_keys]
        missing = [key for key in wanted if key not in item]
        if missing and not self.allow_missing_keys:
            raise KeyError(f"the item has no {missing}; it has {sorted(map(str, item))}; see allow_missing_keys")
        return [key for key in wanted if key in item]

    @staticmethod
    def _check_frame(key: Hashable, image: torch.Tensor, first: Hashable, reference: torch.Tensor) -> None:
        if image.shape[1:] != reference.shape[1:]:
            raise ImageValueError(
                f"{key!r} has size {tuple(image.shape[1:])}, {first!r} {tuple(reference.shape[1:])}; "
                "one box fits only images and masks of one size"
            )


CropToFieldOfViewD = CropToFieldOfViewDict = CropToFieldOfViewd
