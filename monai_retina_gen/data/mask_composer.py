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
from monai_retina_gen.data.lesion_choice import (
    HAEMORRHAGE,
    Chosen,
    below_the_4,
    choose,
    lesion_limits,
    needed_first,
    within_limits,
)
from monai_retina_gen.data.lesion_placement import Canvas, ComposedEye, Placed, draw_pieces, place, resized, soft_edges
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS, LESION_MASKS, rule_violation
from monai_retina_gen.errors import DatalistError

Array = npt.NDArray[Any]
FOVEA_SPARED = (1, 2)
"""Grades whose eyes get no lesion in the fovea."""


@dataclass(frozen=True)
class ComposedMasks:
    """Masks of lesions for one eye.

    Attributes:
        masks: `(1, H, W)` float32 in [0, 1] for every name in `LESION_MASKS`; absent lesions are zero.
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

    A bank's eye is a profile of its grade only where the grading scale's rules allow it (`rule_violation`). Pieces keep
    off the outer 5 % of the field of view, the optic disc and, in grades 1 and 2, the fovea; number, area and size keep
    within what eyes of the grade have (`limits`); grade 2 stays below 20 haemorrhages in every quadrant.

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
        source = bank if isinstance(bank, LesionBank) else LesionBank.load(bank)
        self.limits = lesion_limits(source)
        self.bank = source.only(source.area <= self.limits.piece[source.grade[source.eye], source.kind])
        self.move, self.flip, self.haemorrhages_per_quadrant = move, flip, haemorrhages_per_quadrant
        there = tuple(name for number, name in enumerate(LESION_MASKS) if (self.bank.kind == number).any())
        self.lesions, self.annotated_only = there if lesions is None else tuple(lesions), annotated_only
        self._profiles = {grade: self._find_profiles(grade) for grade in range(1, 5)}

    @property
    def grades(self) -> tuple[int, ...]:
        """Grades that can be composed: 0, and those of which the bank has an eye that follows the rules."""
        return (0, *(grade for grade, eyes in self._profiles.items() if len(eyes)))

    def profiles(self, grade: int) -> Array:
        """Eyes of the bank, as row numbers, that follow the rules of a grade from 1 on."""
        return self._profiles[grade]

    def compose(
        self,
        anatomy: Mapping[str, Any],
        grade: int,
        *,
        seed: int,
        strength: float = 1.0,
        lesions: Sequence[str] | None = None,
        own: Mapping[str, Any] | None = None,
    ) -> ComposedMasks:
        """Lesion masks for an eye.

        Args:
            anatomy: `fov` and `od`, `(1, H, W)` in [0, 1]; without `od` the middle of the field counts as the fovea,
                and nothing is kept off a disc. Other keys are not looked at.
            grade: 0-4.
            seed: all draws come from it: equal arguments give equal masks.
            strength: share of the composed pieces that are placed, in [0, 1], but at least what the grade needs
                (`needed_first`); 0 places none. A greater strength places all pieces of a smaller one, and more.
            lesions: some of the composer's; None for all.
            own: lesions that the eye has, `(1, H, W)` in [0, 1] by name. They count for the limits and for the rules,
                and nothing is put on them; they are not part of what comes back.

        Raises:
            ImageValueError: for masks without `fov`, of another shape, or of different sizes.
            ValueError: for another grade, strength, or lesions that the composer lacks.
            DatalistError: if the bank has no eye of the grade, or none with the lesions.
        """
        eye = ComposedEye.of(anatomy, own or {})
        if grade not in GRADE_LESIONS or not 0 <= strength <= 1:
            raise ValueError(
                f"grade={grade!r}, strength={strength!r}: grade must be 0, 1, 2, 3 or 4, strength in [0, 1]"
            )
        if grade == 0 or strength == 0:
            empty = torch.zeros(len(LESION_MASKS), *eye.field.shape, dtype=torch.float32)
            return _named(empty, np.zeros((len(LESION_MASKS), 4), np.int64), eye)
        random = np.random.default_rng([int(seed), 0x6D61736B])
        kinds = self._kinds(lesions)
        profile = int(random.choice(self._profiles_with(grade, kinds if lesions is not None else None)))
        wanted = self._wanted(profile, grade, kinds)
        chosen = choose(self.bank, self._profiles[grade], wanted, self.flip, random)
        chosen, needed = self._limited(chosen, grade, eye)
        canvas = Canvas.of_eye(eye, self.bank.diameter, spare_fovea=grade in FOVEA_SPARED)
        placed = place(canvas, self.bank, chosen, self.move, random)
        number = max(int(np.ceil(strength * len(chosen.pieces))), needed)
        placed = placed.only(np.arange(len(chosen.pieces)) < number)
        name = str(self.bank.name[profile])
        made = _finished(canvas, placed, eye, name)
        if grade == 2 and not eye.severe and eye.severe_with(made.masks["he"]):  # pieces that were cut in two
            return _finished(canvas, placed.only(placed.kind != HAEMORRHAGE), eye, name)
        return made

    def _kinds(self, lesions: Sequence[str] | None) -> Array:
        """(lesions,) which are asked for."""
        if lesions is not None and (unknown := sorted(set(lesions) - set(self.lesions))):
            raise ValueError(f"lesions: {unknown} came, the composer has {', '.join(self.lesions)}")
        return np.array([name in (self.lesions if lesions is None else lesions) for name in LESION_MASKS])

    def _profiles_with(self, grade: int, kinds: Array | None) -> Array:
        """Eyes of a grade, with one of these lesions at least; None for all eyes."""
        eyes = self._profiles[grade]
        if not len(eyes):
            raise DatalistError(
                f"the lesion bank has no eye of grade {grade} that follows the grading rules (it can compose "
                f"{self.grades}); build it from photographs of that grade"
            )
        if kinds is None:
            return eyes
        found = eyes[self.bank.counts[eyes][:, kinds].any((1, 2))]
        if not len(found):
            names = ", ".join(name for name, asked in zip(LESION_MASKS, kinds, strict=True) if asked)
            raise DatalistError(f"the lesion bank has no eye of grade {grade} with {names or 'lesions () as asked'}")
        return found

    def _find_profiles(self, grade: int) -> Array:
        bank = self.bank
        rows = np.flatnonzero((bank.grade == grade) & (bank.annotated | (not self.annotated_only)))
        keep = [not rule_violation(grade, counts_by_lesion(bank.counts[row])) for row in rows]
        return rows[np.array(keep, bool)]

    def _wanted(self, profile: int, grade: int, kinds: Array) -> Array:
        """(lesions, 4) pieces to place."""
        counts = self.bank.counts[profile].copy()
        if grade == 3:
            counts[HAEMORRHAGE] = np.maximum(counts[HAEMORRHAGE], self.haemorrhages_per_quadrant)
        counts[~kinds] = 0
        return np.asarray(counts)

    def _limited(self, chosen: Chosen, grade: int, eye: ComposedEye) -> tuple[Chosen, int]:
        """Pieces that stay within the grade's limits, in the order of placing, and how many of them it needs."""
        order, needed = needed_first(grade, chosen.kind, chosen.quadrant, eye.counts)
        chosen = chosen.only(order)
        have = np.array([eye.counts.get(name, np.zeros(4, np.int64)) for name in LESION_MASKS])
        limits, areas = self.limits, eye.areas(self.bank.diameter)
        count = np.minimum(limits.count[grade], limits.total_count[grade] - have.sum(1))
        pixels = np.minimum(limits.area[grade], limits.total_area[grade] - areas)
        if grade == 3 and self.haemorrhages_per_quadrant:
            count[HAEMORRHAGE] = pixels[HAEMORRHAGE] = np.inf
        keep = within_limits(chosen.kind, self.bank.area[chosen.pieces], count=count, pixels=pixels)
        keep[:needed] = True
        if grade == 2:
            rows = np.flatnonzero(keep)
            keep[rows] = below_the_4(chosen.kind[rows], chosen.quadrant[rows], have[HAEMORRHAGE])
        return chosen.only(np.flatnonzero(keep)), int(keep[:needed].sum())


def _finished(canvas: Canvas, placed: Placed, eye: ComposedEye, profile: str) -> ComposedMasks:
    """From the bank's resolution to the eye's, where lesions may lie."""
    planes, counts = draw_pieces(canvas, placed)
    size = tuple(eye.field.shape)
    shown = np.flatnonzero(planes.reshape(len(planes), -1).any(1))
    masks = torch.zeros(len(LESION_MASKS), *size, dtype=torch.float32)
    if len(shown):
        small = torch.from_numpy(soft_edges(planes, placed)[shown])[None]
        if size != planes.shape[1:]:
            small = interpolate(small, size, mode="bilinear", antialias=True, align_corners=False)
        masks[shown] = small[0].clamp(0, 1) * _allowed(canvas, eye)[shown]
    return _named(masks, counts, eye, profile)


def _named(masks: Tensor, counts: Array, eye: ComposedEye, profile: str = "") -> ComposedMasks:
    areas = (masks.sum((1, 2)) / int(eye.field.sum())).tolist()
    named = {name: masks[[i]] for i, name in enumerate(LESION_MASKS)}
    return ComposedMasks(named, counts, dict(zip(LESION_MASKS, areas, strict=True)), profile)


def _allowed(canvas: Canvas, eye: ComposedEye) -> Tensor:
    """(lesions, H, W) where each may lie, at the eye's resolution."""
    field, retina = (resized(plane, eye.field.shape) & eye.field for plane in (canvas.field, canvas.retina))
    for taken in (eye.disc, eye.lesions):
        retina = retina if taken is None else retina & ~taken
    return torch.from_numpy(np.stack([field if name == "membrane" else retina for name in LESION_MASKS]))
