"""Memorisation metrics: brute force, SciPy's Mann-Whitney, and a planted fifth of copies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu, norm

from monai_retina_gen.metrics import (
    authenticity_share,
    copied_share,
    data_copying_test,
    mann_whitney_z,
    nearest_ratio,
)


def _noise(n: int, seed: int, d: int = 64) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(
    first=st.lists(st.integers(0, 5), min_size=2, max_size=30),
    second=st.lists(st.integers(0, 5), min_size=2, max_size=30),
)
@settings(max_examples=40, deadline=None)
def test_mann_whitney_matches_scipy_with_ties(first, second):
    z = mann_whitney_z(torch.tensor(first), torch.tensor(second))
    if len(set(first + second)) == 1:
        assert z == 0
        return
    oracle = mannwhitneyu(first, second, alternative="less", method="asymptotic", use_continuity=False)
    assert norm.cdf(z) == pytest.approx(oracle.pvalue, abs=1e-9)


def test_authenticity_and_ratio_match_brute_force():
    train, holdout, generated = _noise(30, 0, 4), _noise(30, 1, 4), _noise(25, 2, 4)
    own = cdist(train, train) + np.diag([np.inf] * 30)
    across = cdist(generated, train)
    truth = (across.min(axis=1) > own.min(axis=1)[across.argmin(axis=1)]).mean()
    assert float(authenticity_share(train, generated)) == pytest.approx(truth)
    ratios = across.min(axis=1) / cdist(generated, holdout).min(axis=1)
    np.testing.assert_allclose(nearest_ratio(train, holdout, generated).numpy(), ratios, rtol=1e-9)


def _audit(generated: torch.Tensor) -> tuple[float, float, float]:
    train, holdout = _noise(400, 0), _noise(400, 1)
    return (
        float(authenticity_share(train, generated)),
        data_copying_test(train, holdout, generated).statistic,
        float(copied_share(nearest_ratio(train, holdout, generated))),
    )


def test_fresh_samples_pass():
    authentic, statistic, copied = _audit(_noise(400, 2))
    assert authentic == pytest.approx(float(authenticity_share(_noise(400, 0), _noise(400, 1))), abs=0.1)
    assert abs(statistic) < 3
    assert copied == 0


def test_exact_copies_are_found():
    authentic, statistic, copied = _audit(_noise(400, 0))
    assert authentic == 0
    assert statistic < -20
    assert copied == 1


def test_a_planted_fifth_of_near_copies_is_found_by_its_share():
    generated = _noise(400, 2)
    generated[:80] = _noise(400, 0)[:80] + 0.05 * _noise(80, 3)
    _, statistic, copied = _audit(generated)
    assert statistic < -3
    assert copied == pytest.approx(0.2)


def test_cells_find_copying_that_the_global_form_hides():
    shift = 20 * torch.eye(8, dtype=torch.float64)[0]

    def two_modes(n: int, seed: int, spread: float = 1.0) -> torch.Tensor:
        return torch.cat([_noise(n, seed, 8), spread * _noise(n, seed + 50, 8) + shift])

    train, holdout, generated = two_modes(100, 0), two_modes(100, 1), two_modes(100, 2, spread=3.0)
    generated[:100] = train[:100]  # one mode is copied, the other far too wide
    whole = data_copying_test(train, holdout, generated)
    celled = data_copying_test(train, holdout, generated, cells=2)
    assert whole.cell_z == [whole.statistic]
    assert abs(whole.statistic) < 5
    assert min(celled.cell_z) < -10
    assert max(celled.cell_z) > 10
    assert celled.tested_share == 1


def test_cells_with_too_few_images_are_not_tested():
    train, far = _noise(20, 0, 2), _noise(10, 1, 2) + 100
    result = data_copying_test(torch.cat([train, far]), _noise(20, 2, 2), _noise(20, 3, 2), cells=2)
    assert sum(math.isnan(z) for z in result.cell_z) == 1
    assert result.tested_share == 1
    untested = data_copying_test(train, train[:19], train)
    assert math.isnan(untested.statistic)
    assert untested.as_dict() == {"statistic": None, "cell_z": [None], "tested_share": 0.0}


def test_ratio_where_both_or_one_coincide():
    point = torch.zeros(1, 2)
    assert nearest_ratio(point, point, point).tolist() == [1]
    assert nearest_ratio(point + 1, point, point).tolist() == [math.inf]
    assert nearest_ratio(point, point + 1, point).tolist() == [0]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="3 training and 4 held-out"):
        nearest_ratio(_noise(3, 0), _noise(4, 1), _noise(2, 2))
    with pytest.raises(ValueError, match="cells = 9 with 5"):
        data_copying_test(_noise(5, 0), _noise(5, 1), _noise(5, 2), cells=9)
