"""What an eye shall show: its own lesions and composed ones, of which a share comes or goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_retina_gen.data import MaskComposer
from monai_retina_gen.editing.painting.pieces import piece_order
from monai_retina_gen.networks import PAINTED_LESIONS

__all__ = ["PAINTING_EDITS", "WantedLesions"]

PAINTING_EDITS = ("add", "replace", "remove")
"""Lesions of the grade's kind and number are added to the eye's own, take their place, or the own ones go."""


@dataclass(frozen=True)
class WantedLesions:
    """Lesions of one eye, before and after, `(4, H, W)` in [0, 1] in the order of `PAINTED_LESIONS`.

    Args:
        own: what it shows.
        going: share of the edit from which on each own piece is gone, see `piece_order`; infinite for what stays.
        new: composed lesions.
        coming: share of the edit from which on each of them is there.
        profile: the photograph that said which lesions there are, `""` where none was asked.
    """

    own: Tensor
    going: Tensor
    new: Tensor
    coming: Tensor
    profile: str = ""

    @classmethod
    def of(
        cls,
        own: Mapping[str, Tensor],
        lesions: Sequence[str],
        change: str,
        *,
        composer: MaskComposer | None,
        grade: int,
        seed: int,
    ) -> WantedLesions:
        """Draw what an edit wants.

        Args:
            own: masks of the eye, `(1, H, W)` in [0, 1]: `fov`, `od` and `PAINTED_LESIONS`.
            lesions: that change.
            change: one of `PAINTING_EDITS`.
            composer: composes new ones; not asked for `"remove"`.
            grade: of the eye.
            seed: of all draws.

        Examples:
            >>> own = {name: torch.zeros(1, 8, 8) for name in ("fov", "od", *PAINTED_LESIONS)}
            >>> own["ex"][0, 2, 2], own["ex"][0, 5, 5], own["he"][0, 0, 0] = 1, 1, 1
            >>> gone = WantedLesions.of(own, ["ex"], "remove", composer=None, grade=2, seed=0)
            >>> [int(gone.at(share).sum()) for share in (0.0, 0.5, 1.0)]
            [3, 2, 1]
        """
        before = torch.cat([own[name] for name in PAINTED_LESIONS])
        asked = torch.tensor([name in lesions for name in PAINTED_LESIONS], device=before.device)[:, None, None]
        new, profile = torch.zeros_like(before), ""
        if change != "remove" and composer is not None:
            anatomy = {name: own[name].cpu() for name in ("fov", "od")}
            made = composer.compose(anatomy, grade, seed=seed)
            new, profile = torch.cat([made.masks[name] for name in PAINTED_LESIONS]).to(before) * asked, made.profile
        going = torch.full_like(before, torch.inf)
        if change != "add":
            going = piece_order(before * asked, seed)
        stays = (before > 0) & going.isinf()
        # under a lesion that stays nothing else is drawn: a pixel shows one lesion
        covered = stays.any(0) & ~stays
        new = new.masked_fill(covered, 0)
        return cls(before, going, new, piece_order(new, seed), profile)

    def at(self, share: float) -> Tensor:
        """Lesions `(4, H, W)` after a share of the edit, in [0, 1]; at 0 the eye's own."""
        left, come = self.own.masked_fill(self.going <= share, 0), self.new.masked_fill(self.coming > share, 0)
        return torch.maximum(left, come)
