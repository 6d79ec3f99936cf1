"""Pictures for reports: rows of images by grade, strips, and pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_retina_gen.data.sampling import spread
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.handlers import image_grid
from monai_retina_gen.networks.resizing import resized

__all__ = ["grade_rows", "rows_of", "strip"]

TILE = 128
GAP = 4
WHITE = 1.0


def strip(images: ImageSet, tile: int = TILE) -> Tensor:
    """Images side by side, `(3, tile, n * tile)`."""
    return image_grid(resized(images.floats(), min(tile, images.size)), len(images))


def grade_rows(real: ImageSet, generated: ImageSet, columns: int = 4, tile: int = TILE) -> Tensor:
    """One row a grade: photographs at the left, generated images at the right of a white gap.

    Args:
        real: photographs.
        generated: generated images.
        columns: images of each kind in a row; white where a grade has fewer.
        tile: side of an image in pixels.

    Returns:
        `(3, H, W)` in [0, 1].
    """
    rows = []
    for grade in sorted(set(real.grades) | set(generated.grades)):
        halves = [_row(images.of_grade(grade), columns, tile) for images in (real, generated)]
        rows.append(torch.cat([halves[0], torch.full((3, tile, GAP), WHITE), halves[1]], dim=2))
    return torch.cat(rows, dim=1)


def rows_of(columns: Sequence[Tensor], tile: int = TILE) -> Tensor:
    """Pictures `(N, 3, S, S)` of each column beside each other: N rows, with white between the columns."""
    parts: list[Tensor] = []
    for images in columns:
        column = image_grid(resized(images, tile), 1)
        parts += [column, torch.full((3, column.shape[1], GAP), WHITE)]
    return torch.cat(parts[:-1], dim=2)


def _row(images: ImageSet, columns: int, tile: int) -> Tensor:
    chosen = images.select(spread(len(images), columns)) if len(images) else images
    row = torch.full((columns, 3, tile, tile), WHITE)
    if len(chosen):
        row[: len(chosen)] = resized(chosen.floats(), tile)
    return image_grid(row, columns)
