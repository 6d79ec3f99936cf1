"""Soft edges of large lesions: a large piece with a hard edge looks pasted, and real ones fade out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_retina_gen.data.lesion_placement import Placed

__all__ = ["soft_edges"]

Array = npt.NDArray[Any]
LARGE = 60  # pixels of a piece, at the bank's diameter, from which on its edge is softened
SOFTNESS = 0.12  # of the edge, as a share of the radius of a circle of the piece's area


def soft_edges(planes: Array, placed: Placed) -> npt.NDArray[np.float32]:
    """Drawn planes (lesions, H, W) as shares of pixels: edges of large pieces are blurred, small pieces stay.

    Args:
        planes: bool, as `draw_pieces` gives them.
        placed: the pieces that were drawn.
    """
    soft = planes.astype(np.float32)
    area = np.bincount(placed.owner, minlength=len(placed.kind))
    starts = np.concatenate([[0], np.cumsum(area)])
    for piece in np.flatnonzero(area >= LARGE):
        sigma = SOFTNESS * float(np.sqrt(area[piece] / np.pi))
        where = placed.middle[piece] + placed.offsets[starts[piece] : starts[piece + 1]]
        _blur(soft[placed.kind[piece]], planes[placed.kind[piece]], where, sigma)
    return soft


def _blur(soft: Array, plane: Array, where: Array, sigma: float) -> None:
    """Blur one piece of a plane, in place; `where` is (P, 2), its pixels as x and y."""
    height, width = plane.shape
    x, y = where[((where >= 0) & (where < (width, height))).all(1)].T
    x, y = x[plane[y, x]], y[plane[y, x]]
    if not len(x):
        return
    edge = int(np.ceil(3 * sigma))
    left, top = max(0, x.min() - edge), max(0, y.min() - edge)
    box = (slice(top, y.max() + edge + 1), slice(left, x.max() + edge + 1))
    piece = np.zeros(soft[box].shape, np.float32)
    piece[y - top, x - left] = 1
    faded = ndimage.gaussian_filter(piece, sigma, mode="constant")
    soft[box] = np.where(piece > 0, faded, np.maximum(soft[box], faded))
