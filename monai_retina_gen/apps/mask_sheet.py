"""Sheets of masks alone, without a photograph: composed lesions over vessels, disc and field of view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from monai_retina_gen.data.mask_picture import draw_masks

__all__ = ["mask_sheet"]

GAP = 4


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
