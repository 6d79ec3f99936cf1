"""Composed masks, from pieces that were placed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from monai_retina_gen.data.composed_eye import ComposedEye
from monai_retina_gen.data.lesion_placement import Canvas, Placed, draw_pieces, resized
from monai_retina_gen.data.lesion_rules import LESION_MASKS
from monai_retina_gen.data.soft_edges import soft_edges

__all__ = ["ComposedMasks", "finished", "nothing"]

Array = npt.NDArray[Any]


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


def nothing(field: Array) -> ComposedMasks:
    """An eye `(H, W)` without lesions."""
    empty = {name: torch.zeros(1, *field.shape, dtype=torch.float32) for name in LESION_MASKS}
    return ComposedMasks(empty, np.zeros((len(LESION_MASKS), 4), np.int64), dict.fromkeys(LESION_MASKS, 0.0), "")


def finished(canvas: Canvas, placed: Placed, eye: ComposedEye, profile: str) -> ComposedMasks:
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
    area = masks.sum((1, 2)) / int(eye.field.sum())
    return ComposedMasks(
        {name: masks[[i]] for i, name in enumerate(LESION_MASKS)},
        counts,
        dict(zip(LESION_MASKS, area.tolist(), strict=True)),
        profile,
    )


def _allowed(canvas: Canvas, eye: ComposedEye) -> Tensor:
    """(lesions, H, W) where each may lie, at the eye's resolution."""
    field, retina = (resized(plane, eye.field.shape) & eye.field for plane in (canvas.field, canvas.retina))
    for taken in (eye.disc, eye.lesions):
        retina = retina if taken is None else retina & ~taken
    return torch.from_numpy(np.stack([field if name == "membrane" else retina for name in LESION_MASKS]))
