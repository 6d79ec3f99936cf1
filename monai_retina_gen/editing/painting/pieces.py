"""Lesions as pieces: which of them an eye shall show, an edit adds or takes away, and which show in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from monai_retina_gen.data import MaskComposer
from monai_retina_gen.data.bank_building import BRIGHT, piece_contrast
from monai_retina_gen.data.eye_geometry import EyeGeometry
from monai_retina_gen.data.lesion_rules import SEVERE_PER_QUADRANT, pieces_by_quadrant, rule_violation
from monai_retina_gen.networks import PAINTED_LESIONS, dilated

COVERED = 0.4
"""Share of a pixel that a lesion covers, from which on it counts."""
PAINTING_EDITS = ("add", "replace", "remove")
"""Lesions of the grade's kind and number are added to the eye's own, take their place, or the own ones go."""


def piece_order(masks: Tensor, seed: int) -> Tensor:
    """When each piece's turn comes, `(L, H, W)`: a share of all in (0, 1], at random; infinite without a piece.

    Planes are lesions with soft edges. What is done to the pieces up to a share is done to them at every larger one
    too.

    Examples:
        >>> masks = torch.zeros(1, 8, 8)
        >>> masks[0, 1, 1], masks[0, 5, 5] = 1, 1
        >>> order = piece_order(masks, seed=0)
        >>> sorted(order[0, [1, 5], [1, 5]].tolist()), float(order[0, 0, 0])
        ([0.5, 1.0], inf)
    """
    planes = masks.detach().cpu().numpy() > 0
    order, total = np.full(planes.shape, np.inf, np.float32), 0
    labels = []
    for plane in planes:
        found, count = ndimage.label(plane)
        labels.append(np.where(found > 0, found + total, 0))
        total += count
    if total:
        turns = np.random.default_rng([seed, 0x7475726E]).permutation(total) + 1
        shares = np.concatenate([[np.inf], turns / total]).astype(np.float32)
        order = shares[np.stack(labels)]
    return torch.from_numpy(order).to(masks.device)


def quadrant_counts(masks: Mapping[str, Tensor], field: Tensor, disc: Tensor) -> dict[str, npt.NDArray[np.int64]]:
    """Pieces of each lesion in the four quadrants about the fovea, `(4,)` by name, as a composer counts."""
    eye = EyeGeometry.from_masks(field[0].cpu().numpy(), disc[0].cpu().numpy())
    return {name: pieces_by_quadrant(mask[0].cpu().numpy(), eye) for name, mask in masks.items()}


def label_change(
    grade: int, before: Mapping[str, npt.NDArray[np.int64]], after: Mapping[str, npt.NDArray[np.int64]]
) -> str:
    """Why an eye of this grade with other lesions, `(4,)` by name, is no longer of it, `""` where it may be.

    Lesions that are there, and were not, can make an eye severe (the "4" of the 4-2-1 rule); lesions that are gone can
    leave too few for its grade. What breaks a rule before as well (masks miss lesions) is held against nothing.

    Examples:
        >>> none, many, few = np.zeros(4, int), np.full(4, 20), np.array([3, 0, 0, 0])
        >>> label_change(2, {"he": few}, {"he": many})
        'grade 2 shows 20 haemorrhages in every quadrant'
        >>> label_change(2, {"he": few}, {"he": none}), label_change(2, {"he": none}, {"he": few})
        ('grade 2 shows no lesion', '')
    """
    found = rule_violation(grade, after)
    severe = grade == 2 and int(after["he"].min()) >= SEVERE_PER_QUADRANT
    return found if severe or not rule_violation(grade, before) else ""


def without_invisible(
    image: Tensor, own: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, contrast: float
) -> dict[str, Tensor]:
    """Wanted masks `(B, 1, H, W)` without the new pieces that do not show; pieces of `own`, from before, stay.

    A piece shows where its green channel, in which lesions stand out most, differs from the ring around it by the share
    `contrast` of the ring's at least: darker for microaneurysms and haemorrhages, brighter for exudates.
    """
    lesions = torch.stack([mask >= COVERED for mask in wanted.values()]).any(0)
    found = {}
    for name, mask in wanted.items():
        labels, difference = piece_contrast(image, mask >= COVERED, lesions)
        faint = (difference if name in BRIGHT else -difference) < contrast
        faint[0] = False
        faint[labels[own[name] >= COVERED]] = False  # it was there before, larger or smaller
        found[name] = _without(mask, labels, faint)
    return found


def _without(mask: Tensor, labels: Tensor, faint: Tensor) -> Tensor:
    """A mask without some pieces and their soft edges."""
    lost = faint[labels]
    rest = dilated(((labels > 0) & ~lost).float(), 2) > 0
    return mask.masked_fill((dilated(lost.float(), 2) > 0) & ~rest, 0)


class WantedLesions:
    """Lesions of one eye before and after an edit, at any share of it.

    `own` are its masks `(1, H, W)`: `fov`, `od` and `PAINTED_LESIONS`; `lesions` those that change; `profile` is then
    the photograph of the bank that said which lesions there are, `""` before any was asked.

    Examples:
        >>> own = {name: torch.zeros(1, 8, 8) for name in ("fov", "od", *PAINTED_LESIONS)}
        >>> own["ex"][0, 2, 2], own["ex"][0, 5, 5], own["he"][0, 0, 0] = 1, 1, 1
        >>> gone = WantedLesions(own, ["ex"], "remove", composer=None, grade=2, seed=0)
        >>> [int(gone.at(share).sum()) for share in (0.0, 0.5, 1.0)]
        [3, 2, 1]
    """

    def __init__(
        self,
        own: Mapping[str, Tensor],
        lesions: Sequence[str],
        change: str,
        *,
        composer: MaskComposer | None,
        grade: int,
        seed: int,
    ) -> None:
        self.own = torch.cat([own[name] for name in PAINTED_LESIONS])
        asked = torch.tensor([name in lesions for name in PAINTED_LESIONS], device=self.own.device)[:, None, None]
        takes = change != "add"
        self.going = piece_order(self.own * asked, seed) if takes else torch.full_like(self.own, torch.inf)
        self.composer = None if change == "remove" else composer
        self.lesions, self.grade, self.seed, self.profile = tuple(lesions), grade, seed, ""
        self.anatomy = {name: own[name].cpu() for name in ("fov", "od")}
        self.staying = {n: own[n].cpu() for n in PAINTED_LESIONS if not (takes and n in lesions)}
        self._composed: tuple[float, Tensor] = (0.0, torch.zeros_like(self.own))

    def at(self, share: float) -> Tensor:
        """Lesions `(4, H, W)` in [0, 1] after a share of the edit; `DatalistError` where none can be composed."""
        return torch.maximum(self.own.masked_fill(self.going <= share, 0), self._new(share))

    def _new(self, share: float) -> Tensor:
        """Composed lesions, of which a larger share has all that a smaller one has."""
        if self.composer is not None and self._composed[0] != share:
            self._composed = share, self._compose(self.composer, share)
        return self._composed[1] if share else torch.zeros_like(self.own)

    def _compose(self, composer: MaskComposer, share: float) -> Tensor:
        kinds = [name for name in self.lesions if name in composer.lesions]
        made = composer.compose(
            self.anatomy, self.grade, seed=self.seed, strength=share, lesions=kinds, own=self.staying
        )
        self.profile = made.profile
        asked = [made.masks[name] * (name in self.lesions) for name in PAINTED_LESIONS]
        return torch.cat(asked).clamp(0, 1).to(self.own)  # resampled: a rounding beside 0 or 1
