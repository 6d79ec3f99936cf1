"""Parts of painting whose outcome can be told: a painter that draws exactly what masks say, a segmenter that knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import LesionBank, MaskComposer, PhantomDataset
from monai_retina_gen.generators import LesionPainterGenerator
from monai_retina_gen.networks import LesionPainter

SIDE = 128
MASKS = ("fov", "od", "vessel", "ma", "he", "ex", "se")


class ExactPainter:
    """Red lesions at half of the light, pale ones at one and a half, healthy retina elsewhere in the change."""

    reads_vessels = False

    def draw(
        self,
        photograph: Tensor,
        own: Mapping[str, Tensor],
        wanted: Mapping[str, Tensor],
        *,
        seeds: Sequence[int],
        grades: Tensor | None = None,
        nothing_new: bool = False,
    ) -> tuple[Tensor, Tensor]:
        change = torch.cat([(wanted[name] - own[name]).abs() for name in wanted], dim=1).amax(1, keepdim=True)
        shown = own if nothing_new else wanted
        dark, pale = torch.maximum(shown["ma"], shown["he"]), torch.maximum(shown["ex"], shown["se"])
        grain = torch.tensor([seed % 7 / 100 for seed in seeds]).to(photograph)[:, None, None, None]
        return (0.4 * (1 - 0.5 * dark + 0.5 * pale) + grain).expand_as(photograph), change * (own["fov"] >= 0.5)


class Knows:
    """A segmenter that has the masks of one eye, and counts how many photographs it was shown."""

    identity = "knows 1"

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        self.masks, self.seen = masks, 0

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        self.seen += len(images)
        return {name: mask.expand(len(images), -1, -1, -1).to(images) for name, mask in self.masks.items()}


def phantom(grade: int, seed: int = 5) -> tuple[Tensor, dict[str, Tensor]]:
    """A photograph `(1, 3, 128, 128)` and its masks."""
    eye: dict[str, Any] = PhantomDataset(length=1, size=SIDE, seed=seed, grades=[grade], masks=True)[0]
    return eye["image"][None], {name: eye[name][None] for name in MASKS}


def painting_generator(bank: LesionBank | None, masker: Any = None) -> LesionPainterGenerator:
    """With the exact painter."""
    made = LesionPainterGenerator(LesionPainter(channels=(4, 8)))
    made.equip(ExactPainter(), masker=masker, composer=None if bank is None else MaskComposer(bank))
    return made
