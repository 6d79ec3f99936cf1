"""What of the wanted lesions shows in a painted photograph: masks must not claim what is not there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import max_pool2d

from monai_retina_gen.networks import dilated

__all__ = ["piece_contrast", "without_invisible"]

COVERED = 0.4
"""Share of a pixel that a lesion covers, from which on it counts."""

BRIGHT = ("ex", "se")

RING = 5
"""Distance in pixels to which the surroundings of a piece reach."""

WITHIN_SLICE = np.zeros((3, 3, 3), bool)
WITHIN_SLICE[1] = True


def without_invisible(
    image: Tensor, own: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, contrast: float
) -> dict[str, Tensor]:
    """Wanted masks without the new pieces that do not show.

    A piece shows where its green channel, in which lesions stand out most, differs from the ring around it by
    `contrast` of the ring's at least: darker for microaneurysms and haemorrhages, brighter for exudates. Pieces that
    the photograph had before stay.

    Args:
        image: `(B, 3, H, W)` in [0, 1], painted.
        own: `(B, 1, H, W)` masks by name, before.
        wanted: masks after; the names are the result's.
        contrast: smallest share.

    Examples:
        >>> image, spots = torch.full((1, 3, 32, 32), 0.5), torch.zeros(1, 1, 32, 32)
        >>> spots[..., 8:11, 8:11], spots[..., 20:23, 20:23], image[..., 20:23, 20:23] = 1, 1, 0.4
        >>> shown = without_invisible(image, {"he": torch.zeros_like(spots)}, {"he": spots}, contrast=0.03)["he"]
        >>> float(shown[..., 8:11, 8:11].sum()), float(shown[..., 20:23, 20:23].sum())
        (0.0, 9.0)
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
    near = near.masked_fill(dilated(lesions.float(), 1) > 0, 0)
    inside, around = (_means(image[:, 1:2], places, count + 1) for places in (labels, near))
    difference = torch.where(around > 0, inside / around.clamp(min=1e-3) - 1, torch.zeros_like(around))
    difference[0] = 0
    return labels, difference


def _without(mask: Tensor, labels: Tensor, faint: Tensor) -> Tensor:
    """A mask without some pieces and their soft edges."""
    lost = faint[labels]
    rest = dilated(((labels > 0) & ~lost).float(), 2) > 0
    return mask.masked_fill((dilated(lost.float(), 2) > 0) & ~rest, 0)


def _means(values: Tensor, labels: Tensor, count: int) -> Tensor:
    """Mean of all values with each label."""
    places, zeros = labels.flatten(), values.new_zeros(count)
    total = zeros.index_add(0, places, values.flatten())
    return total / zeros.index_add(0, places, torch.ones_like(values).flatten()).clamp(min=1)
