"""Cropping the photographs and masks of an item to the retina together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import ensure_tuple
from torch import Tensor

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.transforms.crop_field_of_view import CropToFieldOfView
from monai_retina_gen.transforms.forms import with_arguments_of
from monai_retina_gen.transforms.image_order import naming_file
from monai_retina_gen.transforms.load_fundus import LoadFundusd


@with_arguments_of(CropToFieldOfView)
class CropToFieldOfViewd(MapTransform, InvertibleTransform):
    """Dictionary form of `CropToFieldOfView`: the first image decides the box, all others and the masks follow.

    Args:
        keys: photographs of one size.
        mask_keys: masks (C, H, W) of the same size; averaged over areas, so that soft masks stay in [0, 1].
        allow_missing_keys: leave out keys that an item lacks.

    Examples:
        >>> from monai_retina_gen.data import phantom_fundus
        >>> item = {"image": phantom_fundus(seed=1, size=64).image}
        >>> tuple(CropToFieldOfViewd(keys="image", size=32, image_order="CHW")(item)["image"].shape)
        (3, 32, 32)
    """

    backend = CropToFieldOfView.backend

    def __init__(
        self,
        keys: KeysCollection,
        *,
        mask_keys: KeysCollection = (),
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.mask_keys: tuple[Hashable, ...] = ensure_tuple(mask_keys)
        self.cropper = CropToFieldOfView(**options)

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


def load_cropped(item: Mapping[str, Any], mask_keys: Sequence[str], size: int) -> tuple[MetaTensor, dict[str, Tensor]]:
    """The photograph of an item `(3, size, size)` and its masks `(1, size, size)` by name, cropped to the retina."""
    loaded: dict[Hashable, Any] = {key: item[key] for key in ("image", *mask_keys)}
    loaded = LoadFundusd(keys="image", mask_keys=mask_keys)(loaded)
    loaded = CropToFieldOfViewd(keys="image", mask_keys=mask_keys, size=size)(loaded)
    return loaded["image"], {key: loaded[key].as_tensor() for key in mask_keys}
