"""Where things lie in an eye: circle of the field of view, optic disc, fovea and quadrants, found from masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_retina_gen.errors import ImageValueError

Array = npt.NDArray[np.floating[Any]]

QUADRANTS = ("superior temporal", "superior nasal", "inferior temporal", "inferior nasal")
"""Quadrants about the fovea, in the order of their numbers."""

# Fovea from the disc in radii of a field of view of 45 to 50 degrees: 4.8 mm temporally, a little below.
FOVEA = (0.75, 0.07)


@dataclass(frozen=True)
class EyeGeometry:
    """Geometry of one eye, in pixels of its masks; points are (x, y), x to the right and y down.

    Attributes:
        centre: of the field of view.
        radius: of the field of view.
        disc: centre of the optic disc; None where there is no mask of it.
        disc_radius: 0 without a disc.
        fovea: estimated from the disc; the centre of the field of view without one.
        temporal: direction of the macula as seen from the disc: +1 right, -1 left; +1 without a disc.
    """

    centre: tuple[float, float]
    radius: float
    disc: tuple[float, float] | None
    disc_radius: float
    fovea: tuple[float, float]
    temporal: int

    @classmethod
    def from_masks(cls, field: npt.NDArray[Any], disc: npt.NDArray[Any] | None = None) -> EyeGeometry:
        """Geometry from masks `(H, W)`, inside from 0.5 on; the disc's largest piece counts.

        Raises:
            ImageValueError: for an empty field of view.
        """
        rows, columns = (np.flatnonzero((np.asarray(field) >= 0.5).any(axis)) for axis in (1, 0))
        if not len(rows):
            raise ImageValueError("fov: the mask of the field of view is empty; give the one that belongs to the image")
        # Tops and bottoms are often clipped, so that the longer side is the diameter.
        centre = ((columns[0] + columns[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2)
        radius = max(columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1) / 2
        piece = None if disc is None else largest_piece(np.asarray(disc) >= 0.5)
        if piece is None:
            return cls(_point(centre), float(radius), None, 0.0, _point(centre), 1)
        where = np.argwhere(piece)[:, ::-1] + 0.5
        middle = where.mean(0)
        temporal = 1 if middle[0] <= centre[0] else -1
        fovea = middle + np.array([temporal * FOVEA[0], FOVEA[1]]) * radius
        return cls(
            _point(centre), float(radius), _point(middle), float(np.sqrt(len(where) / np.pi)), _point(fovea), temporal
        )

    def to_eye(self, points: Array) -> Array:
        """Points (N, 2) from pixels to the eye's own axes: from the fovea, temporal right, in radii."""
        return (points - np.array(self.fovea)) * np.array([self.temporal, 1]) / self.radius

    def to_pixels(self, points: Array) -> Array:
        """Inverse of `to_eye`."""
        return points * np.array([self.temporal, 1]) * self.radius + np.array(self.fovea)

    def quadrants(self, points: Array) -> npt.NDArray[np.int64]:
        """Number in `QUADRANTS` of each point (N, 2) in pixels."""
        return quadrants(self.to_eye(points))


def quadrants(points: Array) -> npt.NDArray[np.int64]:
    """Number in `QUADRANTS` of each point (N, 2) in the eye's own axes."""
    return 2 * (points[:, 1] > 0) + (points[:, 0] < 0).astype(np.int64)


def inner_field(field: npt.NDArray[np.bool_], width: float) -> npt.NDArray[np.bool_]:
    """The field of view without its rim, at least `width` pixels (along diagonals up to 1.4 times as many).

    The frame's border is a rim too, where it cuts the field.
    """
    filled = np.asarray(field).astype(np.uint8)
    return np.asarray(ndimage.minimum_filter(filled, 2 * int(np.ceil(width)) + 1, mode="constant") > 0)


def largest_piece(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    """The largest 4-connected piece of a mask; None where it is empty."""
    labels, count = ndimage.label(mask)
    return np.asarray(labels == np.bincount(labels.ravel())[1:].argmax() + 1) if count else None


def _point(values: Any) -> tuple[float, float]:
    return float(values[0]), float(values[1])
