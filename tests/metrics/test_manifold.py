"""Precision, recall, density, coverage and realism against torch-fidelity and brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch_fidelity.metric_prc import prc_features_to_metric

from monai_retina_gen.metrics import manifold as manifold_module
from monai_retina_gen.metrics import neighbour_radii, realism_score
from monai_retina_gen.metrics.manifold import density_coverage, precision_recall


def _noise(n: int, d: int = 4, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.mark.parametrize(("n", "m", "shift"), [(60, 60, 0.0), (80, 40, 0.7), (30, 90, 2.0)])
def test_precision_recall_match_torch_fidelity(n, m, shift):
    real, generated = _noise(n), _noise(m, seed=1, shift=shift)
    oracle = prc_features_to_metric(
        generated, real, prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=False, verbose=False
    )
    result = precision_recall(real, generated)
    assert float(result.precision) == pytest.approx(oracle["precision"], abs=1e-5)
    assert float(result.recall) == pytest.approx(oracle["recall"], abs=1e-5)


def _brute_density_coverage(real: np.ndarray, generated: np.ndarray, k: int) -> tuple[float, float]:
    """As in the reference implementation of Naeem et al. (distances without ties, so < and <= agree)."""
    radii = np.sort(cdist(real, real), axis=1)[:, k]
    across = cdist(real, generated)
    inside = across < radii[:, None]
    return inside.sum(axis=0).mean() / k, (across.min(axis=1) < radii).mean()


@given(n=st.integers(6, 40), m=st.integers(1, 40), shift=st.floats(0, 3), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_density_coverage_match_brute_force(n, m, shift, seed):
    real, generated = _noise(n, seed=seed), _noise(m, seed=seed + 100, shift=shift)
    density, coverage = _brute_density_coverage(real.numpy(), generated.numpy(), 5)
    result = density_coverage(real, generated)
    assert float(result.density) == pytest.approx(density)
    assert float(result.coverage) == pytest.approx(coverage)


def test_realism_matches_brute_force_with_pruning():
    real, generated = _noise(31), _noise(20, seed=1)
    radii = np.sort(cdist(real, real), axis=1)[:, 3]
    kept = radii <= np.median(radii)
    truth = (radii[kept] / cdist(generated, real[kept])).max(axis=1)
    np.testing.assert_allclose(realism_score(real, generated).numpy(), truth, rtol=1e-10)


def test_blocks_do_not_matter(monkeypatch):
    real, generated = _noise(50), _noise(45, seed=1)

    def figures():
        return [*precision_recall(real, generated), *density_coverage(real, generated)]

    whole = figures()
    monkeypatch.setattr(manifold_module, "BLOCK_ELEMENTS", 170)
    assert figures() == whole


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
@settings(max_examples=20, deadline=None)
def test_scale_shift_and_order_do_not_matter(scale, shift):
    real, generated = _noise(30), _noise(30, seed=1, shift=0.5)
    moved = [scale * x.flip(0) + shift for x in (real, generated)]
    assert precision_recall(*moved) == precision_recall(real, generated)
    assert density_coverage(*moved).coverage == density_coverage(real, generated).coverage


@pytest.mark.parametrize("features", [_noise(20), torch.full((20, 4), 0.3), _noise(1).expand(20, 4) * 1e4])
def test_identical_sets(features):
    assert [float(v) for v in precision_recall(features, features)] == [1, 1]
    assert float(density_coverage(features, features).coverage) == 1


def test_copies_have_distance_zero_and_infinite_realism():
    real = _noise(40, d=512, shift=100.0)
    kept = neighbour_radii(real, 3) <= neighbour_radii(real, 3).quantile(0.5)
    assert realism_score(real, real)[kept].isinf().all()


def test_two_samples_of_one_distribution_stay_below_one():
    precision, recall = precision_recall(_noise(200, 16), _noise(200, 16, seed=1))
    assert 0.6 < float(precision) < 0.99
    assert 0.6 < float(recall) < 0.99


@pytest.mark.parametrize("function", [precision_recall, density_coverage, realism_score])
def test_too_few_real_images_are_an_error(function):
    with pytest.raises(ValueError, match="n = 3"):
        function(_noise(3), _noise(10), k=3)
