"""Overlays: masks drawn over photographs, and a sheet of them to look through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from monai_retina_gen.data.mask_picture import MASK_COLOURS

COLOURS = {
    "vessel": (0.25, 0.55, 1.0),
    "od": (0.2, 1.0, 0.4),
    **{name: MASK_COLOURS[name] for name in ("he", "ma", "se", "ex")},
}
"""Colour of each structure, in the order in which they are drawn: lesions as in pictures of masks."""

GAP = 4


def overlay(image: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
    """Outlines of masks `(1, H, W)` by name, from 0.5 on, over a photograph `(3, H, W)`; some names have no colour."""
    result = image.clone()
    for name, colour in COLOURS.items():
        if name in masks:
            inside = (masks[name] >= 0.5).float()
            eroded = 1 - max_pool2d(1 - inside[None], 3, stride=1, padding=1)[0]
            edge = (inside > eroded).float()
            result = result * (1 - edge) + torch.tensor(colour).view(3, 1, 1) * edge
    return result


def overlay_sheet(pairs: Sequence[tuple[Tensor, Mapping[str, Tensor]]], *, tile: int = 320, columns: int = 3) -> Tensor:
    """Photographs and their overlays side by side, `columns` such pairs in a row, `tile` pixels the longer side."""
    tiles = [torch.cat([_tile(image, tile), _tile(overlay(image, masks), tile)], 2) for image, masks in pairs]
    width = tiles[0].shape[2] + GAP
    rows = -(-len(tiles) // columns)
    sheet = torch.ones(3, rows * (tile + GAP), min(columns, len(tiles)) * width)
    for index, picture in enumerate(tiles):
        top, left = index // columns * (tile + GAP), index % columns * width
        sheet[:, top : top + tile, left : left + picture.shape[2]] = picture
    return sheet


def _tile(image: Tensor, side: int) -> Tensor:
    """The picture within a square of `side`, on black."""
    scale = side / max(image.shape[1:])
    size = [max(1, round(length * scale)) for length in image.shape[1:]]
    small = interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    square = torch.zeros(3, side, side)
    square[:, top : top + size[0], left : left + size[1]] = small
    return square
