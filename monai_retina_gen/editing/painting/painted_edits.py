"""Edits by painting: what photographs show, and what is asked for, composed and drawn, at any share of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import MaskComposer
from monai_retina_gen.data.condition_map import CONDITION_KEYS
from monai_retina_gen.data.eye_geometry import EyeGeometry
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS, rule_violation
from monai_retina_gen.editing.edit_request import EditRequest, check_retina, excluded_lesions, parse_lesions
from monai_retina_gen.editing.gate_measures import DARK
from monai_retina_gen.editing.lesion_masks import Masker
from monai_retina_gen.editing.painting.paint import Painter, paint
from monai_retina_gen.editing.painting.pieces import (
    PAINTING_EDITS,
    WantedLesions,
    label_change,
    quadrant_counts,
    without_invisible,
)
from monai_retina_gen.editing.photograph_cache import PhotographCache
from monai_retina_gen.errors import DatalistError, ImageValueError
from monai_retina_gen.networks import PAINTED_LESIONS

SMALLEST_SIDE = 128
"""Side of the photographs from which on lesions are more than a pixel."""

CONTRAST = 0.03
SMALLEST_DISC = 0.05
"""Radius of an optic disc in radii of the field of view: what is smaller is none."""

NO_DISC = "no optic disc was found: where lesions may lie is not known"
NOTHING = "nothing of what was painted shows"
NONE_OWN = "the photograph has none of these lesions"


class PaintedEdits:
    """The `PendingEdits` of a painter: own masks found, new lesions composed, ready to be drawn at any share.

    Args:
        painter: draws.
        own_masks: finds what the photographs show.
        composer: gives the composer of new lesions; not asked where lesions only go.
        request: square photographs, from `SMALLEST_SIDE` on. Strengths are shares of the pieces that come or go.
        change: one of `PAINTING_EDITS`.
        with_masks: give all painted lesions' masks, not only those that came with the request.
        made_with: parts besides the painter that paintings depend on, for the records.
        unmasked_healthy: photographs show no lesions but those of given masks: none are looked for, but the vessels in
            any case, since all masks are wanted.
    """

    def __init__(
        self,
        painter: Painter,
        own_masks: OwnMasks,
        composer: Callable[[], MaskComposer],
        request: EditRequest,
        *,
        change: str = "add",
        with_masks: bool = False,
        made_with: Mapping[str, str] | None = None,
        unmasked_healthy: bool = False,
    ) -> None:
        _check(request, change)
        self.painter, self.request, self.change, self.with_masks = painter, request, change, with_masks
        self.made_with, self.healthy = dict(made_with or {}), unmasked_healthy
        grades = request.grades.tolist()
        self.lesions = [_lesions(each, grade, change) for each, grade in zip(request.lesions, grades, strict=True)]
        self.refused = [self._excluded(grade, each) for grade, each in zip(grades, self.lesions, strict=True)]
        self.strengths = request.strengths
        self.own = self._found(own_masks)
        self.wanted: dict[int, WantedLesions] = {}
        for row in (i for i, reason in enumerate(self.refused) if not reason):
            self.refused[row] = self._begin(row, composer)

    def draw(self, rows: list[int], strengths: Tensor) -> tuple[Tensor, list[str]]:
        """Painted images of some rows, and what speaks against each; see `PendingEdits`."""
        own = {name: mask[rows] for name, mask in self.own.items()}
        after = self._after(rows, strengths)
        images, seeds = self.request.images[rows], [self.request.seeds[i] for i in rows]
        grades = self.request.grades[rows]
        made = paint(self.painter, images, own, after, seeds=seeds, grades=grades, contrast=CONTRAST)
        changed = (made.image != images).flatten(1).any(1).tolist()
        return made.image, [
            self._against(row, float(strengths[i]), changed[i], {name: mask[i] for name, mask in made.masks.items()})
            for i, row in enumerate(rows)
        ]

    def masks(self, images: Tensor, strengths: Tensor) -> Mapping[str, Tensor]:
        """Masks of the painted photographs: wanted lesions less what does not show."""
        rows = [row for row in self.wanted if strengths[row] > 0]
        names = [name for name in PAINTED_LESIONS if self.with_masks or name in self.request.masks]
        found = {name: self.own[name].clone() for name in names}
        if rows and names:
            before = {name: self.own[name][rows] for name in PAINTED_LESIONS}
            shown = without_invisible(images[rows], before, self._after(rows, strengths[rows]), contrast=CONTRAST)
            for name in names:
                found[name][rows] = shown[name]
        return {**self.request.masks, **found}

    def note(self, row: int) -> dict[str, Any]:
        """How the edit was made, for the record."""
        made: dict[str, Any] = {"lesion": "+".join(self.lesions[row]), "change": self.change}
        if row in self.wanted and self.wanted[row].profile:
            made["composed_from"] = self.wanted[row].profile
        made |= {"made_with": self.made_with} if self.made_with else {}
        return made | ({"with_masks": True} if self.with_masks else {})

    def _excluded(self, grade: int, lesions: tuple[str, ...]) -> str:
        if self.change == "remove":
            return ""
        return excluded_lesions(grade, lesions or PAINTED_LESIONS)

    def _found(self, own_masks: OwnMasks) -> dict[str, Tensor]:
        """Masks of all photographs; nothing is looked for in those that are refused already."""
        request = self.request
        rows = [i for i, reason in enumerate(self.refused) if not reason or self.with_masks]
        empty = torch.zeros_like(request.images[:, :1])
        given = {name: mask[rows] for name, mask in request.masks.items() if name in CONDITION_KEYS}
        given |= {name: empty[rows] for name in PAINTED_LESIONS if self.healthy and name not in given}
        needed = needed_masks(self.painter) if not self.healthy else ("od", "vessel", *PAINTED_LESIONS)
        found = own_masks(request.images[rows], given, needed)
        grades = request.grades[rows].tolist()
        # false alarms: the grade excludes them
        for name in (each for each in PAINTED_LESIONS if each in found and each not in given):
            possible = [name in GRADE_LESIONS.get(grade, PAINTED_LESIONS) for grade in grades]
            found[name] = found[name] * torch.tensor(possible, device=found[name].device)[:, None, None, None]
        own = {name: request.masks.get(name, empty).clone() for name in found}
        for name, mask in found.items():
            own[name][rows] = mask
        return own

    def _begin(self, row: int, composer: Callable[[], MaskComposer]) -> str:
        """Say what a row wants; why that cannot be, `""` where it can."""
        own, lesions = {name: mask[row] for name, mask in self.own.items()}, self.lesions[row]
        eye = EyeGeometry.from_masks(own["fov"][0].cpu().numpy(), own["od"][0].cpu().numpy())
        if eye.disc_radius < SMALLEST_DISC * eye.radius:
            return NO_DISC
        if self.change == "remove" and not any(bool((own[name] > 0).any()) for name in lesions):
            return NONE_OWN
        grade, seed = int(self.request.grades[row]), self.request.seeds[row]
        makes = None if self.change == "remove" else composer()
        wanted = WantedLesions(own, lesions, self.change, composer=makes, grade=grade, seed=seed)
        try:
            wanted.at(float(self.strengths[row]))
        except DatalistError as error:
            return str(error)
        self.wanted[row] = wanted
        return ""

    def _after(self, rows: list[int], strengths: Tensor) -> dict[str, Tensor]:
        planes = torch.stack([self.wanted[row].at(float(s)) for row, s in zip(rows, strengths, strict=True)])
        return {name: planes[:, [i]] for i, name in enumerate(PAINTED_LESIONS)}

    def _against(self, row: int, strength: float, changed: bool, shown: Mapping[str, Tensor]) -> str:
        """Why a painted photograph is not kept, `""` where it is."""
        own = {name: self.own[name][row] for name in PAINTED_LESIONS}
        same = all(torch.equal(own[name], shown[name]) for name in PAINTED_LESIONS)
        if strength and (same or not changed):
            return NOTHING
        field, disc = self.own["fov"][row], self.own["od"][row]
        before, after = (quadrant_counts(masks, field, disc) for masks in (own, shown))
        grade = int(self.request.grades[row])
        # a healthy eye is of another grade only once it shows what that grade needs
        return rule_violation(grade, after) if self.healthy and strength else label_change(grade, before, after)


def needed_masks(painter: Painter) -> tuple[str, ...]:
    """Masks of a photograph that a painting depends on, besides the field of view."""
    return ("od", *PAINTED_LESIONS, *(["vessel"] if painter.reads_vessels else []))


def _lesions(asked: str, grade: int, change: str) -> tuple[str, ...]:
    """Those that are asked for; without any all that the grade can show, or that can be taken away."""
    if asked:
        return parse_lesions(asked, PAINTED_LESIONS)
    possible = PAINTED_LESIONS if change == "remove" else GRADE_LESIONS.get(grade, PAINTED_LESIONS)
    return tuple(name for name in PAINTED_LESIONS if name in possible)


def _check(request: EditRequest, change: str) -> None:
    height, width = request.images.shape[-2:]
    if height != width or height < SMALLEST_SIDE:
        raise ImageValueError(
            f"images {tuple(request.images.shape)}: painting wants square photographs (B, 3, H, H) of at least "
            f"{SMALLEST_SIDE} px, cropped to the field of view (CropToFieldOfView[d])"
        )
    if change not in PAINTING_EDITS:
        raise ValueError(f"change {change!r}: want one of {', '.join(PAINTING_EDITS)}")
    if bool((request.strengths < 0).any()):
        raise ValueError(
            f"strength {request.strengths.tolist()[:8]}: painting wants shares in [0, 1] of the lesions that come or "
            "go; change='remove' takes lesions away"
        )


PRESENT = 0.5


class OwnMasks:
    """Masks of photographs; what is found is kept by the photographs' content.

    `masker` gives soft masks; without one all masks but the field of view must be given.
    """

    def __init__(self, masker: Masker | None, *, cache_mb: float = 128) -> None:
        self.masker = masker
        self.cache: PhotographCache[dict[str, Tensor]] = PhotographCache(cache_mb)

    def __call__(
        self,
        photographs: Tensor,
        given: Mapping[str, Tensor],
        needed: Collection[str] = ("od", "vessel", *PAINTED_LESIONS),
    ) -> dict[str, Tensor]:
        """Masks `(B, 1, H, W)` float32 in [0, 1] of photographs: what is given, `fov`, and what is `needed`.

        `ImageValueError` for a photograph without retina or colour, or masks that nobody can find.
        """
        lacking = [name for name in needed if name not in given]
        if lacking and self.masker is None:
            raise ImageValueError(f"masks: {', '.join(lacking)} did not come, and there is no segmenter: give them")
        starts = self.cache.entries(photographs, [0] * len(photographs), _retinas)
        self._find(photographs, starts, lacking)
        if not starts:
            return dict(given)
        names = [name for name in ("fov", *lacking) if name not in given]
        found = {name: torch.stack([each[name] for each in starts]).to(photographs) for name in names}
        return {**given, **found}

    def _find(self, photographs: Tensor, starts: list[dict[str, Tensor]], names: list[str]) -> None:
        rows = [i for i, start in enumerate(starts) if any(name not in start for name in names)]
        if not rows:
            return
        assert self.masker is not None  # __call__
        found = self.masker(photographs[rows])
        for name, soft in found.items():
            for row, mask in zip(rows, soft >= PRESENT, strict=True):
                starts[row][name] = mask.clone()


def _retinas(images: Tensor, grades: Tensor) -> list[dict[str, Tensor]]:
    """Where the retina lies in photographs of any grade: what is known of them before any mask is found."""
    return [{"fov": _retina(image)} for image in images]


def _retina(image: Tensor) -> Tensor:
    """The field of view `(1, H, W)`, bool: inside the outline, and between the bands where it is clipped."""
    found, lit = check_retina(image), image.amax(0) > DARK
    y = (torch.arange(found.height, device=image.device) + 0.5 - found.centre_y) / found.radius_y
    x = (torch.arange(found.width, device=image.device) + 0.5 - found.centre_x) / found.radius_x
    rows, columns = lit.any(1), lit.any(0)
    seen = (y[:, None] ** 2 + x**2 <= 1) & _between(rows)[:, None] & _between(columns)
    return seen[None]


def _between(lit: Tensor) -> Tensor:
    """From the first to the last true value."""
    places = lit.long()
    return (places.cumsum(0) > 0) & (places.flip(0).cumsum(0).flip(0) > 0)
