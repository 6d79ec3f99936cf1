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
    """Masks as one map; those that are not given are zero.

    Args:
        masks: at least one of `CONDITION_KEYS`, each `(1, H, W)` or `(B, 1, H, W)`, all of one shape, in [0, 1]; soft
            masks hold the share of a pixel that is covered.

    Returns:
        `(9, H, W)` or `(B, 9, H, W)` float32.

    Raises:
        ImageValueError: for an unknown key, no mask at all, unequal or other shapes, or values outside [0, 1].

    Examples:
        >>> vessel, ma = torch.ones(1, 4, 4), torch.zeros(1, 4, 4)
        >>> condition_map({"ma": ma, "vessel": vessel}).sum((1, 2)).tolist()
        [16.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    _check_masks(masks)
    first = next(iter(masks.values()))
    planes = [masks[key].float() if key in masks else first.new_zeros(first.shape).float() for key in CONDITION_KEYS]
    return torch.cat([plane.as_subclass(Tensor) for plane in planes], dim=-3)


def missing_masks(masks: Mapping[str, Tensor]) -> list[str]:
    """Keys that a condition map of these masks has as zeros only because they were not given.

    Examples:
        >>> missing_masks(dict.fromkeys(CONDITION_KEYS[:7]))
        ['laser', 'membrane']
    """
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
