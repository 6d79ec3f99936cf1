"""Classic augmentations, by torchvision: on plain tensors it takes half of the time of MONAI's (measured at 128 px)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

__all__ = ["classic_transform"]


def classic_transform(arm: str, recipe: str) -> Callable[[Tensor], Tensor]:
    """The augmentation of an arm, on images `(3, H, W)` in [0, 1], drawing from torch's global random state.

    Args:
        arm: `none`, `flip`, `rotate`, `color`, or any other arm for all of them together.
        recipe: `default`, or `cheng2021` for the flips and colours of Cheng and Ye, "Classic Data Augmentation".
    """
    parts = {"flip": _FLIP[recipe], "rotate": [_rotation()], "color": [_COLOR[recipe]]}
    if arm == "none":
        return v2.Identity()
    if arm in parts:
        return v2.Compose(parts[arm])
    move = [] if recipe == "cheng2021" else [_affine()]  # Cheng and Ye avoid what deforms, and do not rotate
    return v2.Compose([*parts["flip"], *move, *parts["color"]])


def _rotation() -> torch.nn.Module:
    # Zhao et al. 2023, Table 2: -30 to 30 degrees
    return v2.RandomRotation(30.0, interpolation=v2.InterpolationMode.BILINEAR)


def _affine() -> torch.nn.Module:
    return v2.RandomAffine(
        20.0, translate=(0.04, 0.04), scale=(0.88, 1.12), interpolation=v2.InterpolationMode.BILINEAR
    )


_FLIP: dict[str, list[torch.nn.Module]] = {
    "default": [v2.RandomHorizontalFlip(0.5), v2.RandomVerticalFlip(0.5)],
    # every photograph is there once as it is and once upside down, which is a probability of one half
    "cheng2021": [v2.RandomHorizontalFlip(0.1), v2.RandomVerticalFlip(0.5)],
}
_COLOR: dict[str, torch.nn.Module] = {
    "default": v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
    "cheng2021": v2.RandomApply(
        [v2.ColorJitter(brightness=(0.7, 0.9), contrast=(0.7, 0.9), saturation=(0.7, 0.9))], p=0.5
    ),
}
