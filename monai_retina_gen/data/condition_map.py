"""The condition map: which masks a mask-to-photograph generator reads, in which order."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from monai_retina_gen.data.names import ANATOMY, LATE_SIGNS, LESIONS
from monai_retina_gen.errors import ImageValueError

CONDITION_KEYS = (*ANATOMY, *LESIONS, *LATE_SIGNS)
"""Channels of a condition map, in order: structures, lesions, and the two signs of late disease."""

CONDITION_LESIONS = (*LESIONS, *LATE_SIGNS)
"""The channels that speak of disease."""


def condition_map(masks: Mapping[str, Tensor]) -> Tensor:
    """Masks of `CONDITION_KEYS` as one map, float32; those that are not given are zero.

    Args:
        masks: at least one, each `(1, H, W)` or `(B, 1, H, W)`, all of one shape, in [0, 1].

    Raises:
        ImageValueError: for an unknown key, no mask at all, unequal or other shapes, or values outside [0, 1].
    """
    _check_masks(masks)
    first = next(iter(masks.values()))
    planes = [masks[key].float() if key in masks else first.new_zeros(first.shape).float() for key in CONDITION_KEYS]
    return torch.cat([plane.as_subclass(Tensor) for plane in planes], dim=-3)


def missing_masks(masks: Mapping[str, Tensor]) -> list[str]:
    """Keys that a condition map of these masks has as zeros only because they were not given."""
    return [key for key in CONDITION_KEYS if key not in masks]


def _check_masks(masks: Mapping[str, Tensor]) -> None:
    unknown = [key for key in masks if key not in CONDITION_KEYS]
    if unknown or not masks:
        came = f"keys {unknown}" if unknown else "no mask"
        raise ImageValueError(f"masks: {came} came, wanted at least one of {', '.join(CONDITION_KEYS)}")
    first = next(iter(masks))
    shape = tuple(masks[first].shape)
    if len(shape) not in (3, 4) or shape[-3] != 1:
        raise ImageValueError(f"masks: {first!r} has shape {shape}, wanted (1, H, W) or (B, 1, H, W)")
    for key, mask in masks.items():
        if tuple(mask.shape) != shape:
            raise ImageValueError(
                f"masks: {key!r} has shape {tuple(mask.shape)} and {first!r} {shape}: bring all masks to one size"
            )
        # One comparison also refuses NaN.
        if mask.numel() and not (float(mask.min()) >= 0 and float(mask.max()) <= 1):
            raise ImageValueError(
                f"masks: {key!r} has values from {float(mask.min()):.3g} to {float(mask.max()):.3g}, wanted [0, 1]; "
                "divide 8-bit masks by 255"
            )


MASK_COLOURS = {
    "fov": (0.16, 0.12, 0.10),
    "vessel": (0.45, 0.36, 0.34),
    "od": (0.75, 0.68, 0.45),
    "laser": (0.55, 0.55, 0.6),
    "membrane": (0.6, 0.75, 0.75),
    "se": (0.75, 0.9, 1.0),
    "ex": (1.0, 0.95, 0.1),
    "he": (0.9, 0.1, 0.1),
    "ma": (1.0, 0.35, 1.0),
}
"""Colour of each mask, in the order in which they are drawn: small lesions lie on top."""


def draw_masks(masks: Mapping[str, Tensor]) -> Tensor:
    """Masks `([B,] 1, H, W)` in [0, 1] by name, `fov` among them, as a picture on black, `([B,] 3, H, W)`.

    Examples:
        >>> import torch
        >>> drawn = draw_masks({"fov": torch.ones(1, 4, 4), "ex": torch.zeros(1, 4, 4)})
        >>> drawn.shape, round(float(drawn[0, 0, 0]), 2)
        (torch.Size([3, 4, 4]), 0.16)
    """
    shape = list(masks["fov"].shape)
    shape[-3] = 3
    picture = masks["fov"].new_zeros(shape)
    for name, colour in MASK_COLOURS.items():
        if name in masks:
            picture = picture * (1 - masks[name]) + masks[name] * picture.new_tensor(colour).view(3, 1, 1)
    return picture.clamp(0, 1)
