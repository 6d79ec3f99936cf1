"""What an eye shall show: its own lesions and composed ones, of which a share comes or goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from monai_retina_gen.data import MaskComposer
from monai_retina_gen.editing.painting.pieces import piece_order
from monai_retina_gen.networks import PAINTED_LESIONS

PAINTING_EDITS = ("add", "replace", "remove")
"""Lesions of the grade's kind and number are added to the eye's own, take their place, or the own ones go."""


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
