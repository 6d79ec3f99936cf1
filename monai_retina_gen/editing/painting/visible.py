"""What of the wanted lesions shows in a painted photograph: masks must not claim what is not there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from monai_retina_gen.data.piece_contrast import BRIGHT, piece_contrast
from monai_retina_gen.networks import dilated

COVERED = 0.4
"""Share of a pixel that a lesion covers, from which on it counts."""


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
