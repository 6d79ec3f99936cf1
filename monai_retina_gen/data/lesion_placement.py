"""Puts pieces of a lesion bank into an eye: moved, off the rim, the disc and the fovea, in their quadrant.

Pieces keep the orientation that they have in the bank, against the eye's own axes, and are moved little: so the
flame shapes of haemorrhages go on along the nerve fibres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_retina_gen.data.eye_geometry import EyeGeometry, inner_field
from monai_retina_gen.data.lesion_bank import LesionBank
from monai_retina_gen.data.lesion_rules import LESION_MASKS

Array = npt.NDArray[Any]
MEMBRANE = LESION_MASKS.index("membrane")
ATTEMPTS = (1.0, 0.5, 0.25, 0.0)  # shares of the drawn move: what leaves the retina is moved less
INSIDE = 0.9  # share of a piece that must lie where lesions may lie
SINGLE = 0.05  # a piece's own move as a share of its cluster's: more would merge the deposits of a cluster
MARGIN = 0.04  # distance kept from the disc, in radii of the field of view; painters cannot draw nearer (`paintable`)
RIM = 0.05  # the same from the edge of the field
FOVEA = 0.15  # the same from the fovea: the central subfield (0.11), and the error of its place
PAINTED = ("laser", "membrane", "ma", "he", "se", "ex")  # a pixel shows the last of them


@dataclass(frozen=True)
class Canvas:
    """An eye at the bank's resolution, its geometry in pixels of the canvas.

    Attributes:
        field: (H, W) where membranes may lie: inside the field of view, off its rim.
        retina: (H, W) where all other lesions may lie: there, off the disc and what else is kept free.
    """

    geometry: EyeGeometry
    field: Array
    retina: Array

    @classmethod
    def of_eye(
        cls, field: Array, disc: Array | None, diameter: int, *, taken: Array | None = None, spare_fovea: bool = False
    ) -> Canvas:
        """Canvas of masks (H, W), its field of view `diameter` pixels wide; nothing is put where it is `taken`."""
        factor = diameter / (2 * EyeGeometry.from_masks(field).radius)
        size = [max(1, round(side * factor)) for side in field.shape]
        inside = resized(np.asarray(field) >= 0.5, size)
        middle, full = (None if m is None else resized(np.asarray(m) >= 0.5, size) for m in (disc, taken))
        eye = EyeGeometry.from_masks(inside, middle)
        away = np.zeros_like(inside) if full is None else full.copy()
        if middle is not None:
            away |= _grown(middle, MARGIN * eye.radius)
        if spare_fovea:
            y, x = np.ogrid[0.5 : size[0], 0.5 : size[1]]
            away |= (x - eye.fovea[0]) ** 2 + (y - eye.fovea[1]) ** 2 < (FOVEA * eye.radius) ** 2
        inner = inner_field(inside, RIM * eye.radius)
        return cls(eye, inner, inner & ~away)


@dataclass(frozen=True)
class Placed:
    """N pieces with their places: lesion, quadrant and middle of each, in pixels of the canvas.

    Attributes:
        offsets: (P, 2) pixels of all pieces from their middles.
        owner: (P,) piece that each pixel belongs to.
    """

    kind: Array
    quadrant: Array
    middle: Array
    offsets: Array
    owner: Array

    def only(self, keep: Array) -> Placed:
        """Some of the pieces; `keep` is (N,), bool."""
        pixels, number = keep[self.owner], np.cumsum(keep) - 1
        return Placed(
            self.kind[keep], self.quadrant[keep], self.middle[keep], self.offsets[pixels], number[self.owner[pixels]]
        )


def place(
    canvas: Canvas,
    bank: LesionBank,
    pieces: Array,
    flips: Array,
    groups: Array,
    move: float,
    random: np.random.Generator,
) -> Placed:
    """Place pieces (N,), rows of the bank, each in the quadrant that it has there, mirrored where flipped.

    Pieces of one group move together, by the standard deviation `move` in radii of the field of view.
    """
    mirror = np.where(flips, -1, 1)
    home = bank.position[pieces] * np.stack([np.ones(len(pieces)), mirror], 1)
    quadrant = bank.quadrant[pieces] ^ np.where(flips, 2, 0)
    moves = random.normal(0, move, (int(groups.max(initial=-1)) + 1, 2))[groups]
    moves = moves + random.normal(0, SINGLE * move, (len(pieces), 2))
    offsets, owner = _pixels(bank, pieces, mirror, canvas.geometry.temporal)
    middle = np.zeros((len(pieces), 2), np.int64)
    placed = Placed(bank.kind[pieces], quadrant, middle, offsets, owner)
    waiting = np.ones(len(pieces), bool)
    for share in ATTEMPTS:
        middle[waiting] = np.floor(canvas.geometry.to_pixels((home + share * moves)[waiting]))
        fits = _share_inside(canvas, placed) >= INSIDE
        fits &= canvas.geometry.quadrants(middle + 0.5) == quadrant
        waiting &= ~fits
        if not waiting.any():
            break
    for row in np.flatnonzero(waiting):
        middle[row] = _anywhere(canvas, int(quadrant[row]), middle[row], random)
    return placed


def draw_pieces(canvas: Canvas, placed: Placed) -> tuple[Array, Array]:
    """Planes (lesions, H, W), bool, of placed pieces, and how many of them show, (lesions, 4) by quadrant."""
    index, inside = _lookup(canvas, placed)
    height, width = canvas.field.shape
    planes = np.zeros((len(LESION_MASKS), height * width), bool)
    for name in PAINTED:
        number = LESION_MASKS.index(name)
        painted = index[inside & (placed.kind[placed.owner] == number)]
        planes[:, painted] = False
        planes[number, painted] = True
    shown = np.bincount(placed.owner[inside], minlength=len(placed.kind)) > 0
    counts = np.zeros((len(LESION_MASKS), 4), np.int64)
    np.add.at(counts, (placed.kind[shown], placed.quadrant[shown]), 1)
    return planes.reshape(len(LESION_MASKS), height, width), counts


def resized(mask: Array, size: Sequence[int]) -> Array:
    """A mask (H, W) at another size, by the nearest pixel."""
    if list(mask.shape) == list(size):
        return mask
    rows, columns = (((np.arange(n) + 0.5) * (m / n)).astype(np.int64) for n, m in zip(size, mask.shape, strict=True))
    return np.asarray(mask[rows[:, None], columns])


def _grown(mask: Array, width: float) -> Array:
    """The mask with a rim, looked for around it only."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return mask
    grown, by = mask.copy(), max(round(width), 1)
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


def _lookup(canvas: Canvas, placed: Placed) -> tuple[Array, Array]:
    """Flat index of every pixel, and whether it lies where its lesion may lie."""
    height, width = canvas.field.shape
    x, y = (placed.middle[placed.owner] + placed.offsets).T
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = np.where(within, y * width + x, 0)
    membrane = placed.kind[placed.owner] == MEMBRANE  # they may start at the disc
    return index, within & np.where(membrane, canvas.field.ravel()[index], canvas.retina.ravel()[index])


def _share_inside(canvas: Canvas, placed: Placed) -> Array:
    count, inside = len(placed.kind), _lookup(canvas, placed)[1]
    return np.asarray(np.bincount(placed.owner, inside, minlength=count) / np.bincount(placed.owner, minlength=count))


def _anywhere(canvas: Canvas, quadrant: int, wanted: Array, random: np.random.Generator) -> Array:
    """A place on the retina in the quadrant, the nearest to the wanted one of a few; that one where there is none."""
    height, width = canvas.retina.shape
    points = np.floor(random.random((256, 2)) * np.array([width, height])).astype(np.int64)
    fits = canvas.retina[points[:, 1], points[:, 0]] & (canvas.geometry.quadrants(points + 0.5) == quadrant)
    if not fits.any():
        return wanted
    found = points[fits]
    return np.asarray(found[np.square(found - wanted).sum(1).argmin()])
