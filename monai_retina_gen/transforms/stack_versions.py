"""A photograph and its painted versions as one stack."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from monai_retina_gen.networks.resizing import resized
from monai_retina_gen.transforms.load_fundus import LoadFundus

__all__ = ["StackVersionsd"]


class StackVersionsd(MapTransform):
    """Stacks a loaded, cropped photograph and the versions that `with_versions` lists, in 8 bits.

    The first of the stack shows no lesions, if one of them does not: the version whose lesions were erased, else the
    photograph.

    Args:
        keys: the photograph's.
        count: images in the stack; where there are fewer, they are repeated in turn.

    Returns:
        `versions` `(count, 3, S, S)` uint8 and `grades` `(count,)`; other keys are dropped. Versions are painted on
        cropped photographs, so that they are only brought to the photograph's side.

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
        images = [_bytes(each) for each in (photograph, *painted)]
        first = erased.index(True) + 1 if any(erased) else 0
        shown = [first, *(i for i in range(len(images)) if i != first)]
        order = [shown[i % len(shown)] for i in range(self.count)]
        return {"versions": torch.stack([images[i] for i in order]), "grades": torch.tensor([grades[i] for i in order])}


def _bytes(image: torch.Tensor) -> torch.Tensor:
    plain = image.as_tensor() if hasattr(image, "as_tensor") else image
    return (plain.clamp(0, 1) * 255).round().to(torch.uint8)
