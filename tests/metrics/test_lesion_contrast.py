"""Contrast of painted lesions as a share of the real ones'."""

from __future__ import annotations

import pytest
import torch

from monai_retina_gen.metrics.lesion_contrast import LesionContrast


def test_shares_of_several_batches() -> None:
    """A haemorrhage painted at half of its contrast, twice; an exudate that is only in the second image."""
    metric = LesionContrast(lesions=["ma", "he", "ex"])
    real, masks = torch.full((2, 3, 16, 16), 0.5), torch.zeros(2, 3, 16, 16)
    masks[:, 1, 2:5, 2:5], masks[1, 2, 10:13, 10:13] = 1, 1
    real[:, 1] += 0.2 * masks[:, 2] - 0.2 * masks[:, 1]
    painted = real.clone()
    painted[:, 1] += 0.1 * masks[:, 1] + 0.1 * masks[:, 2]
    around = torch.ones(2, 1, 16, 16)
    for row in range(2):
        metric.update(tuple(x[row : row + 1] for x in (painted, real, masks, around)))
    found = metric.compute()
    assert found == {"contrast_he": pytest.approx(0.5), "contrast_ex": pytest.approx(1.5)}


def test_nothing_seen_is_nothing_said() -> None:
    metric = LesionContrast(lesions=["ma"])
    assert metric.compute() == {}
