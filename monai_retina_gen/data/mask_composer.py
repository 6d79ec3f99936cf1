"""Composes lesion masks for a given eye and grade from a bank of real lesions.

One eye of the bank says how many pieces of which lesion lie in which quadrant (drawn whole, so that lesions go together
as they do in real eyes); the pieces themselves come from other eyes of the same grade, a quadrant at a time, so that
clusters stay clusters. They are moved, flipped, thinned out and merged (Zhou et al., section III-E: "the number and
position of the lesion spots"), inside the field of view and off the disc.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from monai_retina_gen.data.lesion_bank import LesionBank, counts_by_lesion
from monai_retina_gen.data.lesion_placement import Canvas, place
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS, LESION_MASKS, rule_violation
from monai_retina_gen.errors import DatalistError, ImageValueError

__all__ = ["ComposedMasks", "MaskComposer"]

Array = npt.NDArray[Any]
HAEMORRHAGE = LESION_MASKS.index("he")


@dataclass(frozen=True)
class ComposedMasks:
    """Masks of lesions for one eye.

    Attributes:
        masks: `(1, H, W)` float32 in [0, 1], the share of each pixel that is covered, for every name in
            `LESION_MASKS`; absent lesions are zero.
        counts: (lesions, 4) pieces that were placed, by lesion and quadrant.
        area: share of the field of view that each lesion covers, by name.
        profile: name of the photograph that said which lesions there are; `""` for grade 0.
    """

    masks: dict[str, Tensor]
    counts: Array
    area: dict[str, float]
    profile: str


class MaskComposer:
    """Draws lesion masks whose statistics per grade are those of a bank.

    A bank's eye is a profile of its grade only where the grading scale's rules allow it (`rule_violation`).

    Args:
        bank: a `LesionBank`, or the path of one.
        move: standard deviation by which a cluster is moved, as a share of the field's radius; single pieces move by
            a twentieth of it besides.
        flip: probability that pieces are taken from the mirrored quadrant (superior for inferior), upside down; the
            nasal and temporal side are never exchanged.
        lesions: lesions to compose, by default all that the bank has; the others stay empty.
        haemorrhages_per_quadrant: smallest number of haemorrhages in every quadrant of grade 3, 20 for the "4" of the
            4-2-1 rule; 0 leaves the bank's numbers, since eyes are also graded 3 by signs that have no masks here.
        annotated_only: only eyes whose lesions were annotated.

    Raises:
        ValueError: for values outside their ranges or unknown lesions.
        DatalistError: if the bank's file cannot be read.

    Examples:
        >>> import tempfile
        >>> from monai_retina_gen.data import PhantomDataset, build_lesion_bank, load_datalist, write_phantoms
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = write_phantoms(folder, count=4, size=128, grades=[3], splits=(1, 0, 0))
        ...     bank = build_lesion_bank(load_datalist(written)["training"], diameter=128, min_area=1)
        >>> eye = PhantomDataset(length=1, size=128, grades=[0], masks=True)[0]
        >>> made = MaskComposer(bank).compose(eye, 3, seed=7)
        >>> made.masks["he"].shape, bool(made.counts[1].sum() > 0)
        (torch.Size([1, 128, 128]), True)
    """

    def __init__(
        self,
        bank: LesionBank | str | os.PathLike[str],
        *,
        move: float = 0.05,
        flip: float = 0.5,
        lesions: Sequence[str] | None = None,
        haemorrhages_per_quadrant: int = 0,
        annotated_only: bool = False,
    ) -> None:
        if not 0 <= move <= 1 or not 0 <= flip <= 1 or haemorrhages_per_quadrant < 0:
            raise ValueError(
                f"move={move}, flip={flip}, haemorrhages_per_quadrant={haemorrhages_per_quadrant}: want shares in "
                "[0, 1] and a number from 0"
            )
        if unknown := sorted(set(lesions or ()) - set(LESION_MASKS)):
            raise ValueError(f"lesions: unknown {unknown}; choose from {', '.join(LESION_MASKS)}")
        self.bank = bank if isinstance(bank, LesionBank) else LesionBank.load(bank)
        self.move, self.flip, self.haemorrhages_per_quadrant = move, flip, haemorrhages_per_quadrant
        there = tuple(name for number, name in enumerate(LESION_MASKS) if (self.bank.kind == number).any())
        self.lesions, self.annotated_only = there if lesions is None else tuple(lesions), annotated_only
        self._profiles = {grade: self._find_profiles(grade) for grade in range(1, 5)}
        self._pieces = _index(self.bank)

    @property
    def grades(self) -> tuple[int, ...]:
        """Grades that can be composed: 0, and those of which the bank has an eye that follows the rules."""
        return (0, *(grade for grade, eyes in self._profiles.items() if len(eyes)))

    def profiles(self, grade: int) -> Array:
        """Eyes of the bank, as row numbers, that follow the rules of a grade from 1 on."""
        return self._profiles[grade]

    def compose(self, anatomy: Mapping[str, Any], grade: int, *, seed: int) -> ComposedMasks:
        """Lesion masks for an eye.

        Args:
            anatomy: `fov` and `od`, `(1, H, W)` in [0, 1]; without `od` the middle of the field counts as the fovea,
                and nothing is kept off a disc. Other keys are not looked at.
            grade: 0-4.
            seed: all draws come from it: equal arguments give equal masks.

        Raises:
            ImageValueError: for masks without `fov`, of another shape, or of different sizes.
            ValueError: for another grade.
            DatalistError: if the bank has no eye of the grade.
        """
        field, disc = _planes(anatomy)
        if grade not in GRADE_LESIONS:
            raise ValueError(f"grade must be 0, 1, 2, 3 or 4, got {grade!r}")
        if grade == 0:
            return _nothing(field)
        if not len(self._profiles[grade]):
            raise DatalistError(
                f"the lesion bank has no eye of grade {grade} that follows the grading rules (it can compose "
                f"{self.grades}); build it from photographs of that grade"
            )
        random = np.random.default_rng([int(seed), 0x6D61736B])
        profile = int(random.choice(self._profiles[grade]))
        pieces, flips, groups = self._draw(grade, self._wanted(profile, grade), random)
        canvas = Canvas.of_eye(field, disc, self.bank.diameter)
        planes, counts = place(canvas, self.bank, pieces, flips, groups, self.move, random)
        return _finished(planes, counts, field, str(self.bank.name[profile]))

    def _find_profiles(self, grade: int) -> Array:
        bank = self.bank
        rows = np.flatnonzero((bank.grade == grade) & (bank.annotated | (not self.annotated_only)))
        keep = [not rule_violation(grade, counts_by_lesion(bank.counts[row])) for row in rows]
        return rows[np.array(keep, bool)]

    def _wanted(self, profile: int, grade: int) -> Array:
        """(lesions, 4) pieces to place."""
        counts = self.bank.counts[profile].copy()
        counts[[name not in self.lesions for name in LESION_MASKS]] = 0
        if grade == 3 and "he" in self.lesions:
            counts[HAEMORRHAGE] = np.maximum(counts[HAEMORRHAGE], self.haemorrhages_per_quadrant)
        return np.asarray(counts)

    def _draw(self, grade: int, wanted: Array, random: np.random.Generator) -> tuple[Array, Array, Array]:
        """Pieces of the bank, whether each is flipped, and the cluster that it moves with."""
        pieces: list[Array] = []
        flips: list[bool] = []
        for kind, quadrant in zip(*np.nonzero(wanted), strict=True):
            for chosen, flipped in self._sources(grade, int(kind), int(quadrant), wanted[kind, quadrant], random):
                pieces.append(chosen)
                flips.append(flipped)
        sizes = [len(part) for part in pieces]
        if not sizes:
            return np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.int64)
        return np.concatenate(pieces), np.repeat(flips, sizes), np.repeat(np.arange(len(sizes)), sizes)

    def _sources(
        self, grade: int, kind: int, quadrant: int, number: int, random: np.random.Generator
    ) -> list[tuple[Array, bool]]:
        """So many pieces of one lesion for one quadrant, from as few eyes as have enough of them.

        An eye is drawn in proportion to its pieces, so that every piece of the bank is as likely as any other.
        """
        eyes, found = self._profiles[grade], []
        flipped = bool(random.random() < self.flip)
        for mirrored in (flipped, not flipped):
            weights = self.bank.counts[eyes, kind, quadrant ^ 2 if mirrored else quadrant].astype(float)
            while number > 0 and weights.sum() > 0:
                row = int(random.choice(len(eyes), p=weights / weights.sum()))
                there = self._pieces[int(eyes[row]), kind, quadrant ^ 2 if mirrored else quadrant]
                chosen = there if len(there) <= number else random.choice(there, number, replace=False)
                found.append((chosen, mirrored))
                number -= len(chosen)
                weights[row] = 0  # merged with another eye's where this one has too few
        return found


def _index(bank: LesionBank) -> dict[tuple[int, int, int], Array]:
    """Pieces of the bank by eye, lesion and quadrant."""
    key = (bank.eye * len(LESION_MASKS) + bank.kind) * 4 + bank.quadrant
    order = np.argsort(key, kind="stable")
    found, first = np.unique(key[order], return_index=True)
    parts = np.split(order, first[1:])
    columns = np.unravel_index(found, (len(bank), len(LESION_MASKS), 4))
    return dict(zip(zip(*(column.tolist() for column in columns), strict=True), parts, strict=True))


def _planes(anatomy: Mapping[str, Any]) -> tuple[Array, Array | None]:
    if "fov" not in anatomy:
        raise ImageValueError(f"masks: 'fov' (the field of view) is wanted, got {sorted(map(str, anatomy))}")
    planes = {key: np.asarray(anatomy[key]) for key in ("fov", "od") if key in anatomy}
    shapes = {key: plane.shape for key, plane in planes.items()}
    if any(len(shape) != 3 or shape[0] != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
        raise ImageValueError(f"masks: shapes {shapes} came, wanted (1, H, W), all of one size")
    return planes["fov"][0], planes["od"][0] if "od" in planes else None


def _nothing(field: Array) -> ComposedMasks:
    empty = {name: torch.zeros(1, *field.shape, dtype=torch.float32) for name in LESION_MASKS}
    return ComposedMasks(empty, np.zeros((len(LESION_MASKS), 4), np.int64), dict.fromkeys(LESION_MASKS, 0.0), "")


def _finished(planes: Array, counts: Array, field: Array, profile: str) -> ComposedMasks:
    """From the bank's resolution to the eye's, inside the field of view."""
    inside = torch.from_numpy(np.ascontiguousarray(field >= 0.5))
    shown = np.flatnonzero(planes.reshape(len(planes), -1).any(1))
    size = tuple(field.shape)
    masks = torch.zeros(len(LESION_MASKS), *size, dtype=torch.float32)
    if len(shown):
        small = torch.from_numpy(planes[shown].astype(np.float32))[None]
        if size != planes.shape[1:]:
            small = interpolate(small, size, mode="bilinear", antialias=True, align_corners=False)
        masks[shown] = small[0].clamp(0, 1) * inside
    area = masks.sum((1, 2)) / inside.sum()
    return ComposedMasks(
        {name: masks[[i]] for i, name in enumerate(LESION_MASKS)},
        counts,
        dict(zip(LESION_MASKS, area.tolist(), strict=True)),
        profile,
    )
