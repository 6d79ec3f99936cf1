"""Puts pieces of a lesion bank into an eye: moved, inside the field of view, off the disc, in their quadrant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_retina_gen.data.eye_geometry import EyeGeometry
from monai_retina_gen.data.lesion_bank import LesionBank
from monai_retina_gen.data.lesion_rules import LESION_MASKS

__all__ = ["Canvas", "place"]

Array = npt.NDArray[Any]
MEMBRANE = LESION_MASKS.index("membrane")
ATTEMPTS = (1.0, 0.5, 0.25, 0.0)  # shares of the drawn move: what leaves the retina is moved less
INSIDE = 0.9  # share of a piece that must lie where lesions may lie
SINGLE = 0.05  # a piece's own move as a share of its cluster's: more would merge the deposits of a cluster
MARGIN = 0.02  # distance kept from the disc, in radii of the field of view
PAINTED = ("laser", "membrane", "ma", "he", "se", "ex")  # a pixel shows the last of them


@dataclass(frozen=True)
class Canvas:
    """An eye at the bank's resolution.

    Attributes:
        geometry: in pixels of the canvas.
        field: (H, W) where the retina is.
        retina: (H, W) where lesions may lie: in the field of view and off the disc.
    """

    geometry: EyeGeometry
    field: Array
    retina: Array

    @classmethod
    def of_eye(cls, field: Array, disc: Array | None, diameter: int) -> Canvas:
        """Canvas of an eye.

        Args:
            field: mask (H, W) of the field of view.
            disc: mask (H, W) of the optic disc, or None.
            diameter: of the field of view in pixels of the canvas.
        """
        factor = diameter / (2 * EyeGeometry.from_masks(field).radius)
        size = [max(1, round(side * factor)) for side in field.shape]
        inside = _nearest(np.asarray(field) >= 0.5, size)
        if disc is None:
            return cls(EyeGeometry.from_masks(inside), inside, inside)
        middle = _nearest(np.asarray(disc) >= 0.5, size)
        eye = EyeGeometry.from_masks(inside, middle)
        return cls(eye, inside, inside & ~_grown(middle, round(MARGIN * eye.radius)))


def place(
    canvas: Canvas,
    bank: LesionBank,
    pieces: Array,
    flips: Array,
    groups: Array,
    move: float,
    random: np.random.Generator,
) -> tuple[Array, Array]:
    """Place pieces, each in the quadrant that it has in the bank (mirrored where flipped).

    Args:
        canvas: the eye.
        bank: the pieces' bank.
        pieces: (N,) rows of the bank.
        flips: (N,) whether each is turned upside down, with its place.
        groups: (N,) cluster of each: its members move together.
        move: standard deviation of a cluster's move, in radii of the field of view.
        random: source of all draws.

    Returns:
        Planes (lesions, H, W), bool, and the pieces that found a place by lesion and quadrant (lesions, 4).
    """
    mirror = np.where(flips, -1, 1)
    home = bank.position[pieces] * np.stack([np.ones(len(pieces)), mirror], 1)
    quadrant = bank.quadrant[pieces] ^ np.where(flips, 2, 0)
    moves = random.normal(0, move, (int(groups.max(initial=-1)) + 1, 2))[groups]
    moves = moves + random.normal(0, SINGLE * move, (len(pieces), 2))
    offsets, owner = _pixels(bank, pieces, mirror, canvas.geometry.temporal)
    layers = np.stack([canvas.retina, canvas.field])
    allowed = (bank.kind[pieces] == MEMBRANE).astype(np.int64)  # membranes may start at the disc
    middle = np.zeros((len(pieces), 2), np.int64)
    waiting = np.ones(len(pieces), bool)
    for share in ATTEMPTS:
        middle[waiting] = _to_canvas(canvas, (home + share * moves)[waiting])
        fits = _share_inside(layers, allowed, middle, offsets, owner) >= INSIDE
        fits &= canvas.geometry.quadrants(middle + 0.5) == quadrant
        waiting &= ~fits
        if not waiting.any():
            break
    for row in np.flatnonzero(waiting):
        middle[row] = _anywhere(canvas, int(quadrant[row]), middle[row], random)
    return _paint(layers, allowed, bank.kind[pieces], quadrant, middle, offsets, owner)


def _nearest(mask: Array, size: list[int]) -> Array:
    if list(mask.shape) == size:
        return mask
    rows, columns = (((np.arange(n) + 0.5) * (m / n)).astype(np.int64) for n, m in zip(size, mask.shape, strict=True))
    return np.asarray(mask[rows[:, None], columns])


def _grown(mask: Array, by: int) -> Array:
    """The mask with a rim, looked for around it only."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return mask
    grown, by = mask.copy(), max(by, 1)
    box = tuple(slice(max(0, x[0] - by), x[-1] + 1 + by) for x in (rows, columns))
    grown[box] = ndimage.distance_transform_edt(~mask[box]) <= by
    return grown


def _pixels(bank: LesionBank, pieces: Array, mirror: Array, temporal: int) -> tuple[Array, Array]:
    """Offsets (P, 2) of all pixels, turned as the eye and the flips want it, and the piece that each belongs to."""
    sizes = bank.area[pieces]
    owner = np.repeat(np.arange(len(pieces)), sizes)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    offsets = bank.pixels[bank.start[pieces][owner] + within].astype(np.int64)
    offsets[:, 0] *= temporal
    offsets[:, 1] *= mirror[owner]
    return offsets, owner


def _to_canvas(canvas: Canvas, points: Array) -> Array:
    return np.floor(canvas.geometry.to_pixels(points)).astype(np.int64)


def _lookup(layers: Array, allowed: Array, middle: Array, offsets: Array, owner: Array) -> tuple[Array, Array]:
    """Flat index of every pixel, and whether it lies where its lesion may lie."""
    height, width = layers.shape[1:]
    x, y = (middle[owner] + offsets).T
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = np.where(within, y * width + x, 0)
    return index, within & layers.reshape(2, -1)[allowed[owner], index]


def _share_inside(layers: Array, allowed: Array, middle: Array, offsets: Array, owner: Array) -> Array:
    inside = _lookup(layers, allowed, middle, offsets, owner)[1]
    return np.asarray(np.bincount(owner, inside, minlength=len(middle)) / np.bincount(owner, minlength=len(middle)))


def _anywhere(canvas: Canvas, quadrant: int, wanted: Array, random: np.random.Generator) -> Array:
    """A place on the retina in the quadrant, the nearest to the wanted one of a few; that one where there is none."""
    height, width = canvas.retina.shape
    points = np.floor(random.random((256, 2)) * np.array([width, height])).astype(np.int64)
    fits = canvas.retina[points[:, 1], points[:, 0]] & (canvas.geometry.quadrants(points + 0.5) == quadrant)
    if not fits.any():
        return wanted
    found = points[fits]
    return np.asarray(found[np.square(found - wanted).sum(1).argmin()])


def _paint(
    layers: Array, allowed: Array, kind: Array, quadrant: Array, middle: Array, offsets: Array, owner: Array
) -> tuple[Array, Array]:
    index, inside = _lookup(layers, allowed, middle, offsets, owner)
    planes = np.zeros((len(LESION_MASKS), layers.shape[1] * layers.shape[2]), bool)
    for name in PAINTED:
        number = LESION_MASKS.index(name)
        painted = index[inside & (kind[owner] == number)]
        planes[:, painted] = False
        planes[number, painted] = True
    placed = np.bincount(owner[inside], minlength=len(kind)) > 0
    counts = np.zeros((len(LESION_MASKS), 4), np.int64)
    np.add.at(counts, (kind[placed], quadrant[placed]), 1)
    return planes.reshape(len(LESION_MASKS), *layers.shape[1:]), counts
