"""Intervals over seeds and photographs: closed forms, scipy, and coverage under the null."""

from __future__ import annotations

import json

import pytest
import torch
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from monai_retina_gen.metrics import kappa_from_confusion
from monai_retina_gen.metrics import sensitivity_from_confusion as sensitivity
from monai_retina_gen.metrics.crossed_effects import crossed_interval


def mean(counts: torch.Tensor) -> torch.Tensor:
    """Figure of counts (sum, number): their ratio."""
    return counts[..., 0] / counts[..., 1]


def as_counts(values: torch.Tensor) -> torch.Tensor:
    return torch.stack([values, torch.ones_like(values)], -1)


def test_alike_photographs_leave_the_t_interval_over_seeds() -> None:
    values = torch.tensor([0.2, 0.5, 0.8, 0.4, 0.3], dtype=torch.float64)
    found = crossed_interval(as_counts(values[:, None].expand(5, 40)), mean)
    wanted = student.interval(0.95, 4, values.mean(), values.std() / 5**0.5)
    assert (float(found.low), float(found.high)) == pytest.approx(wanted)
    assert float(found.degrees_of_freedom) == pytest.approx(4)
    assert float(found.p) == pytest.approx(ttest_1samp(values, 0).pvalue)


def test_an_interval_is_cut_to_the_range_of_its_figure() -> None:
    values = torch.tensor([0.1, 0.9], dtype=torch.float64)[:, None].expand(2, 40)
    found = crossed_interval(as_counts(values), mean, within=(0.0, 1.0))
    assert (float(found.low), float(found.high)) == (0.0, 1.0)
    assert float(crossed_interval(as_counts(values), mean).low) < -4


def test_alike_trainings_leave_the_t_interval_over_photographs() -> None:
    values = torch.randn(1, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for seeds in (1, 5):
        found = crossed_interval(as_counts(values.expand(seeds, 30)), mean)
        test = ttest_1samp(values[0], 0)
        assert float(found.p) == pytest.approx(test.pvalue)
        assert (float(found.low), float(found.high)) == pytest.approx(tuple(test.confidence_interval()))
        assert (found.seeds, found.n_groups) == (seeds, 30)


def test_the_variance_is_that_of_both_ways_without_their_interaction_twice() -> None:
    values = torch.randn(6, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows, columns = 20 * values.mean(1).var(), 6 * values.mean(0).var()  # mean squares of the two-way table
    centred = values - values.mean(0) - values.mean(1, keepdim=True) + values.mean()
    rest = centred.square().sum() / (5 * 19)
    found = crossed_interval(as_counts(values), mean)
    wanted = float(rows + (columns - rest).clamp(min=0)) / (6 * 20)  # of the mean of a crossed random-effects table
    assert float(found.standard_error) ** 2 == pytest.approx(wanted)


@pytest.mark.parametrize("seed", range(4))
def test_trainings_that_agree_by_chance_do_not_make_photographs_certain(seed: int) -> None:
    values = torch.randn(2, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    values -= values.mean(1, keepdim=True)  # one figure, right and wrong on other photographs
    rest = (values - values.mean(0)).square().sum() / 29
    wanted = max(float(2 * values.mean(0).var()), float(rest)) / (2 * 30)
    found = crossed_interval(as_counts(values), mean)
    assert float(found.standard_error) ** 2 == pytest.approx(wanted)
    assert float(found.degrees_of_freedom) >= 29


def test_backbones_are_chosen_and_not_drawn() -> None:
    values = torch.tensor([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], dtype=torch.float64)
    counts = as_counts(values[:, None].expand(6, 40))
    found = crossed_interval(counts, mean, strata=["a"] * 3 + ["b"] * 3)
    assert float(found.standard_error) == pytest.approx((0.1**2 / 6) ** 0.5)
    assert float(found.degrees_of_freedom) == pytest.approx(4)
    assert found.seeds == 3
    assert float(crossed_interval(counts, mean).standard_error) > 2 * float(found.standard_error)


def test_differences_are_paired_by_seed_and_photograph() -> None:
    values = torch.randn(5, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = crossed_interval(as_counts(values + 0.25), mean, baseline=as_counts(values))
    assert float(found.value) == pytest.approx(0.25)
    assert float(found.standard_error) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="equal seeds and groups"):
        crossed_interval(as_counts(values), mean, baseline=as_counts(values[:4]))


def test_figures_without_a_value_or_without_an_interval() -> None:
    target = torch.tensor([0] * 20 + [1])  # of grade 1 there is one photograph, of grade 2 none
    counts = torch.nn.functional.one_hot(target * 3 + target, 9).reshape(1, 21, 3, 3).repeat(5, 1, 1, 1)
    found = json.loads(json.dumps(crossed_interval(counts, sensitivity).as_dict(), allow_nan=False))
    assert found["value"] == [1, 1, None]
    assert found["low"] == [1, None, None]


@pytest.mark.parametrize("options", [{"level": 95}, {"strata": ["a"]}])
def test_bad_arguments_are_named(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        crossed_interval(torch.ones(2, 5, 2), mean, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least two photographs"):
        crossed_interval(torch.ones(2, 1, 2), mean)


def planted_arm(target: torch.Tensor, seeds: int, random: torch.Generator) -> torch.Tensor:
    """Confusion counts (seeds, N, studies, 2, 2): skill varies with the seed, the arm's luck with the photograph."""
    n, studies = target.shape
    skill = 0.5 + 0.4 * torch.randn(seeds, 1, studies, generator=random) + torch.randn(n, studies, generator=random)
    right = torch.rand(seeds, n, studies, generator=random) < skill.sigmoid()
    preds = torch.where(right, target, 1 - target)
    return torch.nn.functional.one_hot(target * 2 + preds, 4).reshape(seeds, n, studies, 2, 2)


def false_alarms(n: int, seeds: int, studies: int) -> float:
    """Share of simulated studies whose two arms are equal and whose 95 % interval leaves out zero."""
    random = torch.Generator().manual_seed(100 * n + seeds)
    target = torch.randint(2, (n, studies), generator=random)
    arms = [planted_arm(target, seeds, random) for _ in range(2)]
    found = crossed_interval(arms[0], kappa_from_confusion, baseline=arms[1])
    assert torch.equal(found.p < 0.05, (found.low > 0) | (found.high < 0))
    return float((found.p < 0.05).double().mean())


@pytest.mark.parametrize(("n", "studies"), [(116, 1500), (2000, 300)])
def test_equal_arms_are_told_apart_as_often_as_stated(n: int, studies: int) -> None:
    error = (0.05 * 0.95 / studies) ** 0.5
    assert false_alarms(n, 5, studies) == pytest.approx(0.05, abs=3 * error)
