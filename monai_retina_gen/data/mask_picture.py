"""Masks of an eye as a picture, without a photograph."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

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
    """Masks as a picture on black.

    Args:
        masks: `(1, H, W)` or `(B, 1, H, W)` in [0, 1] by name, `fov` among them; names without a colour are left out.

    Returns:
        `(3, H, W)` or `(B, 3, H, W)` in [0, 1].

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
