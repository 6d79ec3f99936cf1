"""Bootstrap intervals: closed forms, groups and undefined figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from monai_retina_gen.metrics import (
    accuracy_from_confusion,
    bootstrap_interval,
    kappa_from_confusion,
    quadratic_weighted_kappa,
    sensitivity_from_confusion,
)


def _graded(n: int = 120, error: float = 0.3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 5, (n,), generator=generator)
    wrong = torch.rand(n, generator=generator) < error
    return torch.where(wrong, torch.randint(0, 5, (n,), generator=generator), target), target


def test_accuracy_has_the_binomial_interval():
    preds, target = _graded()
    result = bootstrap_interval(preds, target, accuracy_from_confusion, resamples=4000)
    share = float(result.value)
    assert float(result.standard_error) == pytest.approx((share * (1 - share) / 120) ** 0.5, rel=0.05)
    oracle = bootstrap(
        ((preds == target).double().numpy(),), np.mean, method="percentile", n_resamples=4000, random_state=0
    ).confidence_interval
    assert [float(result.low), float(result.high)] == pytest.approx([oracle.low, oracle.high], abs=0.02)


def test_kappa_of_resamples_is_the_kappa_of_the_drawn_photographs():
    preds, target = _graded(12)
    result = bootstrap_interval(preds, target, kappa_from_confusion, resamples=1, seed=3)
    drawn = torch.randint(12, (1, 12), generator=torch.Generator().manual_seed(3))[0]
    assert float(result.low) == pytest.approx(float(quadratic_weighted_kappa(preds[drawn], target[drawn])))


def test_groups_are_drawn_together():
    preds, target = _graded(40)
    alone = bootstrap_interval(preds, target, accuracy_from_confusion)
    doubled = [x.repeat(2) for x in (preds, target)]
    names = [f"eye {i}" for i in range(40)] * 2
    together = bootstrap_interval(*doubled, accuracy_from_confusion, groups=names)
    assert (together.n, together.n_groups) == (80, 40)
    assert float(together.low) == float(alone.low)
    assert float(together.standard_error) == pytest.approx(float(alone.standard_error))
    naive = bootstrap_interval(*doubled, accuracy_from_confusion)
    assert float(naive.standard_error) < 0.8 * float(alone.standard_error)


def test_sensitivity_leaves_out_resamples_without_the_grade():
    target = torch.tensor([0] * 30 + [1])
    result = bootstrap_interval(target, target, sensitivity_from_confusion, num_classes=3)
    assert result.value.tolist()[:2] == [1, 1]
    assert float(result.undefined[1]) == pytest.approx((30 / 31) ** 31, abs=0.04)
    assert result.low.isnan().tolist() == [False, False, True]
    values = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert values["value"] == [1, 1, None]


def test_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(100):
        correct = torch.rand(100, generator=torch.Generator().manual_seed(seed)) < 0.7
        target = torch.zeros(100, dtype=torch.int64)
        result = bootstrap_interval((~correct).long(), target, accuracy_from_confusion, resamples=500)
        covered += float(result.low) <= 0.7 <= float(result.high)
    assert 87 <= covered <= 100


def test_bad_arguments_are_named():
    preds, target = _graded(10)
    with pytest.raises(ValueError, match="groups has 3 entries for 10"):
        bootstrap_interval(preds, target, accuracy_from_confusion, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="level = 95"):
        bootstrap_interval(preds, target, accuracy_from_confusion, level=95)
