"""What the label gate measures of an edit: vessels that are left, and change where nothing should change."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.metrics import compute_dice
from torch import Tensor
from torch.nn.functional import max_pool2d

from monai_retina_gen.data.names import LESIONS

NEIGHBOURHOOD = 0.03
"""Width of the neighbourhood of a lesion, as a share of the image's side."""
DARK = 0.06
"""Pixels below it in all channels lie outside the field of view."""


def expected_grade(probabilities: Tensor) -> Tensor:
    """Mean grade `(B,)` under probabilities `(B, grades)`."""
    return probabilities @ torch.arange(probabilities.shape[1], dtype=probabilities.dtype, device=probabilities.device)


def grade_distance(probabilities: Tensor) -> Tensor:
    """Distance `(B, grades)` of the expected grade from each grade: tells labels that are far off."""
    grades = torch.arange(probabilities.shape[1], dtype=probabilities.dtype, device=probabilities.device)
    return (expected_grade(probabilities)[:, None] - grades).abs()


def grade_excess(probabilities: Tensor) -> Tensor:
    """Probability `(B, grades)` of the grades beyond each grade, on the side where it is larger.

    It tells neighbouring grades, where `grade_distance` is small.
    """
    up_to = probabilities.cumsum(1)
    return torch.maximum(1 - up_to, up_to - probabilities)


def vessel_loss(before: Tensor, after: Tensor) -> Tensor:
    """1 - Dice `(B,)` of two bool vessel masks `(B, 1, H, W)`; 0 where both are empty."""
    dice = compute_dice(after.float(), before.float(), ignore_empty=False)[:, 0]
    return 1 - dice.nan_to_num(1.0)


def lesion_neighbourhood(*masks: Mapping[str, Tensor]) -> Tensor:
    """Union `(B, 1, H, W)` of all lesions of sets of bool masks, widened by 3 % of the image's side."""
    found = torch.stack([mask for each in masks for name, mask in each.items() if name in LESIONS]).any(0)
    return widened(found.float(), least=0) > 0


def widened(mask: Tensor, *, least: int = 1) -> Tensor:
    """A mask `(B, 1, H, W)` widened by `NEIGHBOURHOOD`, at least by `least` pixels.

    Examples:
        >>> mask = torch.zeros(1, 1, 5, 5)
        >>> mask[0, 0, 2, 2] = 1
        >>> int(widened(mask).sum())
        9
    """
    width = 2 * max(round(NEIGHBOURHOOD * mask.shape[-1]), least) + 1
    return max_pool2d(mask, width, stride=1, padding=width // 2)


def change_outside(before: Tensor, after: Tensor, neighbourhood: Tensor) -> Tensor:
    """Mean absolute change `(B,)` inside the field of view, outside the neighbourhood of lesions (bool)."""
    outside = ~neighbourhood & (before.amax(1, keepdim=True) > DARK)
    change = (after - before).abs().mean(1, keepdim=True) * outside
    return change.sum((1, 2, 3)) / outside.sum((1, 2, 3)).clamp(min=1)
