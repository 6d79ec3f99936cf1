"""Puts pieces of a lesion bank into an eye: moved, off the rim, the disc and the fovea, in their quadrant.

Pieces keep the orientation that they have in the bank, against the eye's own axes, and are moved little: so the
flame shapes of haemorrhages go on along the nerve fibres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import Tensor

from monai_retina_gen.data.eye_geometry import EyeGeometry, inner_field
from monai_retina_gen.data.lesion_bank import LesionBank
from monai_retina_gen.data.lesion_choice import Chosen
from monai_retina_gen.data.lesion_rules import LESION_MASKS, meets_the_4, pieces_by_quadrant
from monai_retina_gen.errors import ImageValueError

Array = npt.NDArray[Any]
MEMBRANE = LESION_MASKS.index("membrane")
ATTEMPTS = (1.0, 0.5, 0.25, 0.0)  # shares of the drawn move: what leaves the retina is moved less
INSIDE = 0.9  # share of a piece that must lie where lesions may lie
SINGLE = 0.05  # a piece's own move as a share of its cluster's: more would merge the deposits of a cluster
MARGIN = 0.04  # distance kept from the disc, in radii of the field of view; painters cannot draw nearer (`paintable`)
RIM = 0.05  # the same from the edge of the field
FOVEA = 0.15  # the same from the fovea: the central subfield (0.11), and the error of its place
LARGE = 60  # pixels of a piece, at the bank's diameter, from which on its edge is softened
SOFTNESS = 0.12  # of the edge, as a share of the radius of a circle of the piece's area
PAINTED = ("laser", "membrane", "ma", "he", "se", "ex")  # a pixel shows the last of them


@dataclass(frozen=True)
class ComposedEye:
    """What there is before lesions are composed.

    Attributes:
        geometry: of the eye, in pixels of its masks.
        field: (H, W) bool, its field of view.
        disc: (H, W) bool, its optic disc; None where there is no mask of it.
        lesions: (H, W) bool, all of its lesions; None where it has none.
        own: each of its lesions by name, (H, W) bool.
        counts: their pieces by name, (4,) by quadrant.
    """

    geometry: EyeGeometry
    field: Array
    disc: Array | None
    lesions: Array | None
    own: dict[str, Array]
    counts: dict[str, Array]

    @classmethod
    def of(cls, anatomy: Mapping[str, Any], own: Mapping[str, Any]) -> ComposedEye:
        if "fov" not in anatomy:
            raise ImageValueError(f"masks: 'fov' (the field of view) is wanted, got {sorted(map(str, anatomy))}")
        masks = {key: np.asarray(anatomy[key]) for key in ("fov", "od") if key in anatomy}
        masks |= {name: np.asarray(own[name]) for name in LESION_MASKS if name in own}
        shapes = {key: mask.shape for key, mask in masks.items()}
        if any(len(shape) != 3 or shape[0] != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
            raise ImageValueError(f"masks: shapes {shapes} came, wanted (1, H, W), all of one size")
        planes = {key: mask[0] >= 0.5 for key, mask in masks.items()}
        field, disc = planes.pop("fov"), planes.pop("od", None)
        eye, shown = EyeGeometry.from_masks(field, disc), {key: plane for key, plane in planes.items() if plane.any()}
        counts = {name: pieces_by_quadrant(plane, eye) for name, plane in shown.items()}
        return cls(eye, field, disc, np.any([*shown.values()], axis=0) if shown else None, shown, counts)

    def areas(self, diameter: int) -> Array:
        """(lesions,) area of each lesion, in pixels at a diameter of the field."""
        scale = diameter / (2 * self.geometry.radius)
        return np.array([self.own[n].sum() * scale**2 if n in self.own else 0.0 for n in LESION_MASKS])

    @property
    def severe(self) -> bool:
        return meets_the_4(self.counts.get("he", np.zeros(4, np.int64)))

    def severe_with(self, haemorrhages: Tensor) -> bool:
        """Whether the eye is severe with haemorrhages `(1, H, W)` besides its own."""
        both = haemorrhages[0].numpy() >= 0.5
        both = both | self.own["he"] if "he" in self.own else both
        return meets_the_4(pieces_by_quadrant(both, self.geometry))


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
    def of_eye(cls, shown: ComposedEye, diameter: int, *, spare_fovea: bool = False) -> Canvas:
        """Canvas of an eye, its field of view `diameter` pixels wide; nothing is put on its own lesions."""
        factor = diameter / (2 * shown.geometry.radius)
        size = [max(1, round(side * factor)) for side in shown.field.shape]
        inside = resized(shown.field, size)
        middle, full = (None if m is None else resized(m, size) for m in (shown.disc, shown.lesions))
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


def place(canvas: Canvas, bank: LesionBank, chosen: Chosen, move: float, random: np.random.Generator) -> Placed:
    """Place pieces of the bank, each in its quadrant, mirrored where flipped.

    Pieces of one group move together, by the standard deviation `move` in radii of the field of view.
    """
    count, mirror, quadrant = len(chosen.pieces), np.where(chosen.flips, -1, 1), chosen.quadrant
    home = bank.position[chosen.pieces] * np.stack([np.ones(count), mirror], 1)
    moves = random.normal(0, move, (int(chosen.groups.max(initial=-1)) + 1, 2))[chosen.groups]
    moves = moves + random.normal(0, SINGLE * move, (count, 2))
    offsets, owner = _pixels(bank, chosen.pieces, mirror, canvas.geometry.temporal)
    middle = np.zeros((count, 2), np.int64)
    placed = Placed(chosen.kind, quadrant, middle, offsets, owner)
    waiting = np.ones(count, bool)
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


def soft_edges(planes: Array, placed: Placed) -> npt.NDArray[np.float32]:
    """Drawn planes (lesions, H, W) as shares of pixels: edges of large pieces are blurred, small pieces stay."""
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
