"""Lesions as pieces: which of them an edit adds or takes away, and how many lie in which quadrant."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from monai_retina_gen.data.eye_geometry import EyeGeometry
from monai_retina_gen.data.lesion_rules import SEVERE_PER_QUADRANT, pieces_by_quadrant, rule_violation


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
