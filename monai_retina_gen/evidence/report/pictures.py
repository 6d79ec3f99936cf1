"""Pictures for reports: rows of images by grade or with words beside them, strips, and pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from monai_retina_gen.data.sampling import spread
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.handlers import image_grid
from monai_retina_gen.networks.resizing import resized

TILE = 128
GAP = 4
MARGIN = 150


def strip(images: ImageSet, tile: int = TILE) -> Tensor:
    """Images side by side, `(3, tile, n * tile)`."""
    return image_grid(resized(images.floats(), min(tile, images.size)), len(images))


def grade_rows(real: ImageSet, generated: ImageSet, columns: int = 4, tile: int = TILE) -> Tensor:
    """One row a grade, `(3, H, W)`: photographs at the left, generated images at the right of a white gap.

    A row has `columns` images of each kind, white where a grade has fewer.
    """
    rows = []
    for grade in sorted(set(real.grades) | set(generated.grades)):
        halves = [_row(images.of_grade(grade).floats(), columns, tile) for images in (real, generated)]
        rows.append(torch.cat([halves[0], torch.ones(3, tile, GAP), halves[1]], dim=2))
    return torch.cat(rows, dim=1)


def rows_of(columns: Sequence[Tensor], tile: int = TILE) -> Tensor:
    """Pictures `(N, 3, S, S)` of each column beside each other: N rows, with white between the columns."""
    parts: list[Tensor] = []
    for images in columns:
        column = image_grid(resized(images, tile), 1)
        parts += [column, torch.ones(3, column.shape[1], GAP)]
    return torch.cat(parts[:-1], dim=2)


def labelled_rows(rows: Sequence[tuple[str, Tensor]], *, columns: int = 10, tile: int = 96) -> Tensor:
    """Rows of images `(n, 3, S, S)` in [0, 1] with words (lines parted by newlines) at their left: `(3, H, W)`.

    Of more than `columns` images an even choice is shown, and fewer leave white. `tile` is the side of an image.

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
