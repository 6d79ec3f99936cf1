"""Precision-recall curves of masks against scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.exceptions import NotComputableError
from sklearn.metrics import average_precision_score, f1_score

from monai_retina_gen.metrics.mask_curve import MaskCurve, average_precision, best_threshold, curve_counts


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 0.6), levels=st.sampled_from([3, 50, 1000]))
def test_area_and_threshold_equal_scikit_learn(seed: int, share: float, levels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(600, generator=generator) < share).float()
    target[0] = 1
    levelled = (torch.rand(600, generator=generator) * 0.7 + 0.3 * target).mul(levels).round() / levels
    logits = levelled * 20 - 10  # levels are wider than bins, so that the curve is exact
    p = torch.sigmoid(logits)
    counts = curve_counts(p, target)
    assert average_precision(counts) == pytest.approx(average_precision_score(target.numpy(), logits.numpy()), abs=1e-6)
    threshold, dice = best_threshold(counts)
    assert dice == pytest.approx(f1_score(target.numpy(), (p >= threshold).numpy()), abs=1e-6)
    others = [f1_score(target.numpy(), (p >= t).numpy(), zero_division=0) for t in (0.01, 0.3, 0.5, 0.7, 0.9)]
    assert dice >= max(others) - 1e-6


def test_small_probabilities_keep_their_order() -> None:
    p = torch.tensor([1e-5, 2e-5, 4e-5, 8e-5])
    assert average_precision(curve_counts(p, torch.tensor([0.0, 0.0, 1.0, 1.0]))) == 1


def test_unannotated_channels_do_not_count_and_batches_add_up() -> None:
    torch.manual_seed(0)
    p, target = torch.rand(4, 2, 8, 8), (torch.rand(4, 2, 8, 8) < 0.3).float()
    target[1:, 1] = -1
    whole, parts = (MaskCurve(structures=["ex", "vessel"], lesions=["ex"]) for _ in range(2))
    whole.update((p, target))
    for i in range(4):
        parts.update((p[i : i + 1], target[i : i + 1]))
    found = whole.compute()
    assert parts.compute() == found
    alone = average_precision(curve_counts(p[0, 1], target[0, 1]))
    assert found["pr_auc_vessel"] == pytest.approx(alone)
    assert found["mean_pr_auc"] == found["pr_auc_ex"]


def test_nothing_to_score() -> None:
    metric = MaskCurve(structures=["ex"])
    metric.update((torch.rand(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)))
    with pytest.raises(NotComputableError, match="no annotated structure"):
        metric.compute()
    with pytest.raises(ValueError, match="want both"):
        metric.update((torch.rand(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)))
    assert math.isnan(average_precision(curve_counts(torch.rand(4), torch.zeros(4))))


def test_areas_of_many_curves_are_those_of_each() -> None:
    random = torch.Generator().manual_seed(0)
    probability = torch.rand(5, 300, generator=random)
    target = (torch.rand(5, 300, generator=random) < 0.3).float()
    target[4] = 0
    counts = torch.stack([curve_counts(p, t) for p, t in zip(probability, target, strict=True)])
    areas = average_precision(counts.reshape(5, 1, 2, -1))
    assert areas.shape == (5, 1)
    for row in range(4):
        reference = average_precision_score(target[row].numpy(), probability[row].numpy())
        assert float(areas[row]) == pytest.approx(reference, abs=2e-3)
    assert areas[4].isnan()
