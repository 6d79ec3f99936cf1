"""Items in few bytes, for data sets that cache: an image and its condition map, a photograph and its versions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import ensure_tuple
from torch import Tensor

from monai_retina_gen.data.condition_map import CONDITION_KEYS, condition_map, missing_masks
from monai_retina_gen.data.plain_tensor import in_bytes
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.networks.inputs import resized
from monai_retina_gen.transforms.image_order import naming_file
from monai_retina_gen.transforms.load_fundus import LoadFundus


class StackConditionMapd(Transform):
    """Keeps the image and the condition map, both uint8, so that a caching data set holds many photographs.

    Undo the 8 bits with MONAI's `ScaleIntensityRanged(keys=["image", "condition"], a_min=0, a_max=255, b_min=0,
    b_max=1)`, after random flips, which are cheaper on bytes.

    Args:
        image_key: key of the photograph `(3, H, W)` in [0, 1].
        mask_keys: masks `(1, H, W)` in [0, 1] that are read where the item has them; those it lacks are zero.
        keep: further keys of the item that are kept as they are.
        allow_missing_keys: whether an item may lack the photograph.

    Items have `image` `(3, H, W)`, `condition` `(9, H, W)` in the order of `CONDITION_KEYS`, and `missing`, the names
    of the masks that the item lacks, joined by commas. `KeyError` without the photograph, `ImageValueError` without
    any mask, or for unequal sizes.

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
            item[self.image_key] = in_bytes(image)
        return {**item, "condition": in_bytes(condition), "missing": ",".join(missing_masks(masks))}

    def _check_size(self, image: Tensor, condition: Tensor) -> None:
        if image.shape[1:] != condition.shape[1:]:
            raise ImageValueError(
                f"{self.image_key!r} has size {tuple(image.shape[1:])}, its masks {tuple(condition.shape[1:])}: "
                "crop and resize both together (CropToFieldOfViewd with mask_keys)"
            )


class StackVersionsd(MapTransform):
    """Stacks a loaded, cropped photograph and the versions that `with_versions` lists, in 8 bits.

    The first of the stack shows no lesions, if one of them does not: the version whose lesions were erased, else the
    photograph. Fewer images than `count` are repeated in turn. Versions are painted on cropped photographs, so that
    they are only brought to the photograph's side. Items have `versions` `(count, 3, S, S)` uint8 and `grades`
    `(count,)` alone.

    Examples:
        >>> item = StackVersionsd("image", count=2)({"image": torch.ones(3, 8, 8), "grade": 3, "versions": []})
        >>> item["versions"].shape, item["grades"].tolist()
        (torch.Size([2, 3, 8, 8]), [3, 3])
    """

    def __init__(self, keys: KeysCollection = "image", *, count: int = 6) -> None:
        super().__init__(keys)
        self.count, self.load = count, LoadFundus()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """`{"versions", "grades"}` of an item."""
        photograph = torch.as_tensor(data[self.keys[0]])
        side, listed = int(photograph.shape[-1]), data.get("versions", [])[: self.count - 1]
        erased = [not each["lesion"] for each in listed]
        painted = [resized(self.load(each["image"]).as_tensor()[None].float(), side)[0] for each in listed]
        grades = [int(data["grade"]), *(each["grade"] for each in listed)]
        images = [in_bytes(each) for each in (photograph, *painted)]
        first = erased.index(True) + 1 if any(erased) else 0
        shown = [first, *(i for i in range(len(images)) if i != first)]
        order = [shown[i % len(shown)] for i in range(self.count)]
        return {"versions": torch.stack([images[i] for i in order]), "grades": torch.tensor([grades[i] for i in order])}
