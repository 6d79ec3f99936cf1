"""Contrast of lesions against their surroundings: whether a piece of a mask shows in a photograph."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import max_pool2d

BRIGHT = ("ex", "se")
"""Lesions that are brighter than the retina; the others are darker."""

RING = 5
"""Distance in pixels to which the surroundings of a piece reach."""

WITHIN_SLICE = np.zeros((3, 3, 3), bool)
WITHIN_SLICE[1] = True


def piece_contrast(image: Tensor, mask: Tensor, lesions: Tensor) -> tuple[Tensor, Tensor]:
    """Contrast of every connected piece of a mask against its ring, in the green channel.

    Args:
        image: `(B, 3, H, W)` in [0, 1].
        mask: `(B, 1, H, W)`, bool.
        lesions: `(B, 1, H, W)`, bool: what belongs to no ring.

    Returns:
        labels `(B, 1, H, W)`, 0 where there is no piece; and the contrast of the pieces 0, 1, ... as a share of the
        ring's value, 0 where a piece has no ring (and for "piece" 0).
    """
    numbers, count = ndimage.label(mask[:, 0].cpu().numpy(), WITHIN_SLICE)
    labels = torch.from_numpy(numbers.astype(np.int64))[:, None].to(image.device)
    near = max_pool2d(labels.double(), 2 * RING + 1, stride=1, padding=RING).long()
    near = near.masked_fill(max_pool2d(lesions.float(), 3, stride=1, padding=1) > 0, 0)
    inside, around = (_means(image[:, 1:2], places, count + 1) for places in (labels, near))
    difference = torch.where(around > 0, inside / around.clamp(min=1e-3) - 1, torch.zeros_like(around))
    difference[0] = 0
    return labels, difference


def _means(values: Tensor, labels: Tensor, count: int) -> Tensor:
    """Mean of all values with each label."""
    places, zeros = labels.flatten(), values.new_zeros(count)
    total = zeros.index_add(0, places, values.flatten())
    return total / zeros.index_add(0, places, torch.ones_like(values).flatten()).clamp(min=1)
