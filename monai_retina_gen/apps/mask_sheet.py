"""Sheets of masks alone, without a photograph: composed lesions over vessels, disc and field of view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["MASK_COLOURS", "draw_masks", "mask_sheet"]

FIELD = (0.16, 0.12, 0.10)
MASK_COLOURS = {
    "vessel": (0.45, 0.36, 0.34),
    "od": (0.75, 0.68, 0.45),
    "laser": (0.55, 0.55, 0.6),
    "membrane": (0.6, 0.75, 0.75),
    "ma": (1.0, 0.35, 1.0),
    "he": (0.9, 0.1, 0.1),
    "se": (0.75, 0.9, 1.0),
    "ex": (1.0, 0.95, 0.1),
}
"""Colour of each mask, in the order in which they are drawn."""
GAP = 4


def draw_masks(masks: Mapping[str, Tensor]) -> Tensor:
    """Masks of one eye as a picture.

    Args:
        masks: `(1, H, W)` in [0, 1] by name, `fov` among them; names without a colour are left out.

    Returns:
        `(3, H, W)` in [0, 1].

    Examples:
        >>> drawn = draw_masks({"fov": torch.ones(1, 4, 4), "ex": torch.zeros(1, 4, 4)})
        >>> drawn.shape, round(float(drawn[0, 0, 0]), 2)
        (torch.Size([3, 4, 4]), 0.16)
    """
    picture = masks["fov"] * torch.tensor(FIELD).view(3, 1, 1)
    for name, colour in MASK_COLOURS.items():
        if name in masks:
            picture = picture * (1 - masks[name]) + masks[name] * torch.tensor(colour).view(3, 1, 1)
    return picture.clamp(0, 1)


def mask_sheet(rows: Sequence[Sequence[Mapping[str, Tensor]]]) -> Tensor:
    """Pictures of sets of masks, all of one size, in rows.

    Args:
        rows: sets of masks, as many in every row.

    Returns:
        `(3, height, width)` in [0, 1], on white.
    """
    pictures = [[draw_masks(masks) for masks in row] for row in rows]
    height, width = pictures[0][0].shape[1:]
    sheet = torch.ones(3, len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP)
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            top, left = i * (height + GAP), j * (width + GAP)
            sheet[:, top : top + height, left : left + width] = picture
    return sheet
