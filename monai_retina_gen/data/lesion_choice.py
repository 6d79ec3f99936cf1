"""Which pieces of a lesion bank an eye gets: drawn by lesion and quadrant, within what eyes of its grade have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monai_retina_gen.data.lesion_bank import LesionBank
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS, LESION_MASKS, SEVERE_PER_QUADRANT

Array = npt.NDArray[Any]
EYES = 0.95  # of eyes that have a lesion, this share stays within the limit of its number and of its area
PIECES = 0.99  # of pieces, this share stays within the limit of a piece's area
FEWEST = 5  # annotated eyes of a grade from which on they alone say the limits
MICROANEURYSM, HAEMORRHAGE = LESION_MASKS.index("ma"), LESION_MASKS.index("he")


@dataclass(frozen=True, eq=False)
class LesionLimits:
    """Limits by grade 0-4 (rows) and lesion (columns, as `LESION_MASKS`); pixels are at the bank's diameter.

    `count`, `area` and `piece` limit what is composed for an eye: pieces, their pixels, and the pixels of one.
    `total_count` and `total_area` limit these with what the eye has: segmenters break lesions into fragments, so that
    eyes with predicted masks say them too. `annotated` is whether annotated eyes alone said the first three.
    """

    count: Array
    area: Array
    piece: Array
    total_count: Array
    total_area: Array
    annotated: Array


def lesion_limits(bank: LesionBank) -> LesionLimits:
    """Limits that nearly all real eyes of a grade keep: the 95 % quantile of eyes, the 99 % quantile of pieces.

    Annotated eyes of the grade say them, where there are at least five that have the lesion; otherwise all of the
    grade. What the bank has nowhere in a grade has the limit 0.
    """
    shape = (5, len(LESION_MASKS))
    count, area, piece, total_count, total_area = np.zeros((5, *shape))
    limits = LesionLimits(count, area, piece, total_count, total_area, np.zeros(shape, bool))
    for grade, names in GRADE_LESIONS.items():
        for cell in ((grade, LESION_MASKS.index(name)) for name in names):
            everyone = np.flatnonzero((bank.grade == grade) & (bank.counts[:, cell[1]].sum(1) > 0))
            known = everyone[bank.annotated[everyone]]
            limits.annotated[cell] = len(known) >= FEWEST
            eyes = known if limits.annotated[cell] else everyone
            if len(eyes):
                limits.count[cell], limits.area[cell], limits.piece[cell] = _measured(bank, eyes, cell[1])
                pieces, pixels, _ = _measured(bank, everyone, cell[1])
                limits.total_count[cell] = max(pieces, limits.count[cell])
                limits.total_area[cell] = max(pixels, limits.area[cell])
    return limits


def _measured(bank: LesionBank, eyes: Array, kind: int) -> tuple[float, float, float]:
    """Number and area in nearly all of the eyes, and the area of nearly all pieces."""
    mine = (bank.kind == kind) & np.isin(bank.eye, eyes)
    areas = np.bincount(bank.eye[mine], bank.area[mine], minlength=len(bank))[eyes]
    return _quantile(bank.counts[eyes, kind].sum(1), EYES), _quantile(areas, EYES), _quantile(bank.area[mine], PIECES)


def _quantile(values: Array, share: float) -> float:
    return float(np.quantile(values, share, method="higher"))  # one that was seen: of few the largest


class Chosen(NamedTuple):
    """Pieces (N,), rows of a bank, for one eye.

    Attributes:
        kind: (N,) lesion of each, a number in `LESION_MASKS`.
        quadrant: (N,) quadrant that each goes to.
        flips: (N,) whether each is turned upside down, with its place.
        groups: (N,) cluster of each: its members move together.
    """

    pieces: Array
    kind: Array
    quadrant: Array
    flips: Array
    groups: Array

    def only(self, rows: Array) -> Chosen:
        """The pieces in these rows, in their order."""
        return Chosen(*(column[rows] for column in self))


def choose(bank: LesionBank, eyes: Array, wanted: Array, flip: float, random: np.random.Generator) -> Chosen:
    """`wanted` (lesions, 4) pieces from some eyes of a bank, in random order.

    Those of a quadrant come with probability `flip` from the mirrored one, the upper for the lower.
    """
    found: list[tuple[Array, bool]] = []
    for kind, quadrant in zip(*np.nonzero(wanted), strict=True):
        mirrored = bool(random.random() < flip)
        found += _sources(bank, eyes, int(kind), int(quadrant), wanted[kind, quadrant], mirrored, random)
    pieces = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in found)])
    sizes = np.array([len(rows) for rows, _ in found], np.int64)
    flips = np.repeat(np.array([flipped for _, flipped in found], bool), sizes)
    groups = np.repeat(np.arange(len(found)), sizes)
    quadrants = bank.quadrant[pieces] ^ np.where(flips, 2, 0)
    return Chosen(pieces, bank.kind[pieces], quadrants, flips, groups).only(random.permutation(len(pieces)))


def _sources(
    bank: LesionBank, eyes: Array, kind: int, quadrant: int, number: int, flipped: bool, random: np.random.Generator
) -> Iterator[tuple[Array, bool]]:
    """So many pieces of one lesion for one quadrant, from as few eyes as have enough of them.

    An eye is drawn in proportion to its pieces, so that every piece of the bank is as likely as any other.
    """
    for mirrored in (flipped, not flipped):
        source = quadrant ^ 2 if mirrored else quadrant
        weights = bank.counts[eyes, kind, source].astype(float)
        while number > 0 and weights.sum() > 0:
            row = int(random.choice(len(eyes), p=weights / weights.sum()))
            there = bank.pieces[int(eyes[row]), kind, source]
            chosen = there if len(there) <= number else random.choice(there, number, replace=False)
            yield chosen, mirrored
            number -= len(chosen)
            weights[row] = 0  # merged with another eye's where this one has too few


def within_limits(kind: Array, area: Array, *, count: Array, pixels: Array) -> Array:
    """(N,) which of the pieces (their lesion, their pixels), taken one after the other, keep an eye within its limits.

    `count` and `pixels` (lesions,) say for how many pieces, and how much of their area, there is room.

    Examples:
        >>> kind, room = np.array([0, 1, 0, 0]), np.array([9, 9, 0, 0, 0, 0])
        >>> within_limits(kind, np.array([3, 50, 3, 3]), count=room, pixels=room).tolist()
        [True, False, True, True]
    """
    keep = np.zeros(len(kind), bool)
    for number in np.unique(kind):
        rows = np.flatnonzero(kind == number)
        keep[rows] = (np.arange(1, len(rows) + 1) <= count[number]) & (np.cumsum(area[rows]) <= pixels[number])
    return keep


def below_the_4(kind: Array, quadrant: Array, own: Array) -> Array:
    """(N,) which pieces keep an eye below 20 haemorrhages in every quadrant: one quadrant gets no more than 19.

    That quadrant is the one in which the eye has fewest (`own`, (4,)). An eye that is beyond already gets none.
    """
    bleeding = kind == HAEMORRHAGE
    if own.min() >= SEVERE_PER_QUADRANT:
        return ~bleeding
    total = own + np.bincount(quadrant[bleeding], minlength=4)
    if total.min() < SEVERE_PER_QUADRANT:
        return np.ones(len(kind), bool)
    fewest = int(own.argmin())
    there = bleeding & (quadrant == fewest)
    return ~there | (np.cumsum(there) + own[fewest] < SEVERE_PER_QUADRANT)


def needed_first(grade: int, kind: Array, quadrant: Array, own: Mapping[str, Array]) -> tuple[Array, int]:
    """Order (N,) in which pieces are placed, and how many at its start the eye needs to be of its grade at all.

    Grade 2 needs one that is no microaneurysm, grade 3 a haemorrhage, and haemorrhages or microaneurysms in every
    quadrant (`rule_violation`); what the eye has already is not needed again.
    """
    red = (kind == HAEMORRHAGE) | (kind == MICROANEURYSM)
    there = {name: own.get(name, np.zeros(4, np.int64)) for name in LESION_MASKS}
    needs: list[Array] = []
    if grade == 2 and not sum(there[name].sum() for name in LESION_MASKS if name != "ma"):
        needs = [kind != MICROANEURYSM]
    if grade == 3:
        needs = [] if there["he"].any() else [kind == HAEMORRHAGE]
        needs += [red & (quadrant == q) for q in np.flatnonzero(there["he"] + there["ma"] == 0)]
    firsts = [int(rows[0]) for rows in map(np.flatnonzero, needs) if len(rows)]
    order = list(dict.fromkeys([*firsts, *range(len(kind))]))
    return np.array(order, np.int64), len(set(firsts))
