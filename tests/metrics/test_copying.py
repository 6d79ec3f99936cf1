"""Copying metrics: SciPy's Mann-Whitney, and planted copies."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu, norm

from monai_retina_gen.metrics import CopyingTest, mann_whitney_z
from monai_retina_gen.metrics.manifold import celled_statistic, ratio_of_distances, training_cells


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


def _test(train: torch.Tensor, holdout: torch.Tensor, generated: torch.Tensor, cells: int = 1) -> CopyingTest:
    own, *others = training_cells([train, holdout, generated], cells)
    nearest = []
    for images, cell in zip((holdout, generated), others, strict=True):
        distance = torch.from_numpy(cdist(images, train)).masked_fill(cell[:, None] != own, math.inf)
        nearest.append(distance.amin(1))
    return celled_statistic(nearest[1], nearest[0], others[1], others[0], cells=cells)


def test_fresh_samples_pass_and_copies_are_found():
    train, holdout, generated = _noise(400, 0), _noise(400, 1), _noise(400, 2)
    assert abs(_test(train, holdout, generated).statistic) < 3
    assert _test(train, holdout, train).statistic < -20
    generated[:80] = train[:80] + 0.05 * _noise(80, 3)
    assert _test(train, holdout, generated).statistic < -3


def test_cells_find_copying_that_the_global_form_hides():
    shift = 20 * torch.eye(8, dtype=torch.float64)[0]

    def two_modes(n: int, seed: int, spread: float = 1.0) -> torch.Tensor:
        return torch.cat([_noise(n, seed, 8), spread * _noise(n, seed + 50, 8) + shift])

    train, holdout, generated = two_modes(100, 0), two_modes(100, 1), two_modes(100, 2, spread=3.0)
    generated[:100] = train[:100]  # one mode is copied, the other far too wide
    whole, celled = _test(train, holdout, generated), _test(train, holdout, generated, cells=2)
    assert whole.cell_z == [whole.statistic]
    assert abs(whole.statistic) < 5
    assert min(celled.cell_z) < -10
    assert max(celled.cell_z) > 10
    assert celled.tested_share == 1


def test_cells_with_too_few_images_are_not_tested():
    train, far = _noise(20, 0, 2), _noise(10, 1, 2) + 100
    result = _test(torch.cat([train, far]), _noise(20, 2, 2), _noise(20, 3, 2), cells=2)
    assert sum(math.isnan(z) for z in result.cell_z) == 1
    assert result.tested_share == 1
    untested = _test(train, train[:19], train)
    assert math.isnan(untested.statistic)
    assert untested.as_dict() == {"statistic": None, "cell_z": [None], "tested_share": 0.0}


def test_ratio_where_both_or_one_coincide():
    to_train, to_holdout = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    assert ratio_of_distances(to_train, to_holdout).tolist() == [1, math.inf, 0]
