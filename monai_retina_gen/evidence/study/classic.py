"""Classic augmentations of whole batches, each image by its own draw, on the device where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from monai_retina_gen.engines import GradingAugment


def classic_transform(arm: str, recipe: str) -> Callable[[Tensor], Tensor]:
    """The augmentation of an arm, on images `(B, 3, H, W)` in [0, 1], drawing from torch's global random state.

    Args:
        arm: `none`, `flip`, `rotate`, `color`, or any other arm for all of them together.
        recipe: `default`, or `cheng2021` for the flips and colours of Cheng and Ye, "Classic Data Augmentation".

    Examples:
        >>> classic_transform("oversample", "default")(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4, 3, 32, 32])
    """
    if arm == "none":
        return torch.nn.Identity()
    if recipe == "cheng2021" and arm != "rotate":
        return _one_by_one(_CHENG2021.get(arm, v2.Compose([*_CHENG2021.values()])))
    return GradingAugment(**_DEFAULT.get(arm, _ALL))


_STILL = {"rotate": 0.0, "scale": 0.0, "shift": 0.0}
_DEFAULT: dict[str, dict[str, Any]] = {
    "flip": {**_STILL, "colour": 0.0},
    "rotate": {**_STILL, "colour": 0.0, "flip": False, "rotate": 30.0},
    "color": {**_STILL, "flip": False, "colour": 0.2},
}
_ALL: dict[str, Any] = {"rotate": 20.0, "scale": 0.12, "shift": 0.04, "colour": 0.2}
_CHENG2021: dict[str, torch.nn.Module] = {
    # every photograph is there once as it is and once upside down, which is a probability of one half
    "flip": v2.Compose([v2.RandomHorizontalFlip(0.1), v2.RandomVerticalFlip(0.5)]),
    # they avoid what deforms, and do not rotate
    "color": v2.RandomApply([v2.ColorJitter(brightness=(0.7, 0.9), contrast=(0.7, 0.9), saturation=(0.7, 0.9))], p=0.5),
}


def _one_by_one(transform: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    """Torchvision draws once for what it is given."""
    return lambda images: torch.stack([transform(image) for image in images])
