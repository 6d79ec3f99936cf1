"""Sheets of images in rows with words beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from monai_retina_gen.data.sampling import spread
from monai_retina_gen.handlers import image_grid
from monai_retina_gen.networks.resizing import resized

__all__ = ["labelled_rows"]

TILE = 96
MARGIN = 150


def labelled_rows(rows: Sequence[tuple[str, Tensor]], *, columns: int = 10, tile: int = TILE) -> Tensor:
    """Rows of images with words at their left.

    Args:
        rows: words (lines parted by newlines) and images `(n, 3, S, S)` in [0, 1]; of more than `columns` images an
            even choice is shown, and fewer leave white.
        columns: images in a row.
        tile: side of an image in pixels.

    Returns:
        `(3, len(rows) * tile, MARGIN + columns * tile)` in [0, 1].

    Examples:
        >>> labelled_rows([("grade 0", torch.rand(3, 3, 8, 8)), ("none", torch.rand(0, 3, 8, 8))], columns=4).shape
        torch.Size([3, 192, 534])
    """
    return torch.cat([torch.cat([_words(words, tile), _row(images, columns, tile)], 2) for words, images in rows], 1)


def _row(images: Tensor, columns: int, tile: int) -> Tensor:
    row = torch.ones(columns, 3, tile, tile)
    if len(images):
        chosen = images[spread(len(images), columns)]
        row[: len(chosen)] = resized(chosen, tile)
    return image_grid(row, columns)


def _words(words: str, tile: int) -> Tensor:
    page = Image.new("RGB", (MARGIN, tile), "white")
    ImageDraw.Draw(page).multiline_text((6, 6), words, fill="black")
    return torch.from_numpy(np.array(page)).permute(2, 0, 1).float() / 255
