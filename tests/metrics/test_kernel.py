"""KID against torch-fidelity, and the permutation test."""

from __future__ import annotations

import math

import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from monai_retina_gen.metrics import kernel as kernel_module
from monai_retina_gen.metrics import kernel_permutation_p_value
from monai_retina_gen.metrics.kernel import kernel_distance


def _noise(n: int, d: int = 8, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + shift


def _oracle(real, generated, **options):
    defaults = {"kid_kernel": "poly", "verbose": False}
    return kid_features_to_metric(generated, real, **defaults, **options)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_whole_sets_match_torch_fidelity(shift):
    real, generated = _noise(40), _noise(40, seed=1, shift=shift)
    result = kernel_distance(real, generated)
    oracle = _oracle(real, generated, kid_subsets=1, kid_subset_size=40)["kernel_inception_distance_mean"]
    assert float(result.mean) == pytest.approx(oracle, abs=1e-10)
    assert math.isnan(result.std)


def test_subsets_match_torch_fidelity_in_distribution():
    real, generated = _noise(200), _noise(150, seed=1, shift=0.3)
    result = kernel_distance(real, generated, subsets=400, subset_size=50)
    oracle = _oracle(real, generated, kid_subsets=400, kid_subset_size=50)
    error = oracle["kernel_inception_distance_std"] / 400**0.5
    assert float(result.mean) == pytest.approx(oracle["kernel_inception_distance_mean"], abs=5 * error)
    assert float(result.std) == pytest.approx(oracle["kernel_inception_distance_std"], rel=0.2)


def test_is_unbiased():
    values = torch.stack([kernel_distance(_noise(20, seed=i), _noise(20, seed=1000 + i)).mean for i in range(300)])
    assert abs(float(values.mean())) < 4 * float(values.std()) / 300**0.5
    assert (values < 0).any()


def test_seed_alone_decides():
    real, generated = _noise(30), _noise(20, seed=1)
    options = {"subsets": 5, "subset_size": 10}
    first, again, other = (kernel_distance(real, generated, seed=seed, **options).mean for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_permutation_sums_equal_direct_ones():
    real, generated = _noise(7), _noise(9, seed=1)
    pooled = torch.cat([real, generated])
    labels = torch.zeros(2, 16, dtype=torch.float64)
    labels[0, :7] = 1
    labels[1, 3:10] = 1
    values = kernel_module._mmd2_of_labels(kernel_module._kernel(pooled, pooled), labels, 7)
    for row, value in zip(labels.bool(), values, strict=True):
        torch.testing.assert_close(value, kernel_module._mmd2(pooled[row], pooled[~row]))


def test_p_value_is_small_for_different_and_uniform_for_equal_distributions():
    assert kernel_permutation_p_value(_noise(30), _noise(25, seed=1, shift=2.0), permutations=199) == 1 / 200
    values = [kernel_permutation_p_value(_noise(15, 3, i), _noise(15, 3, 500 + i), permutations=99) for i in range(60)]
    assert 0.35 < sum(values) / 60 < 0.65
    assert sum(value <= 0.05 for value in values) <= 9


def test_identical_and_constant_sets():
    ones = torch.ones(6, 3)
    assert float(kernel_distance(ones, ones).mean) == 0
    assert kernel_permutation_p_value(ones, ones, permutations=20) == 1


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="real has n = 1"):
        kernel_distance(_noise(1), _noise(5))
    with pytest.raises(ValueError, match="subset_size = 1"):
        kernel_distance(_noise(5), _noise(5), subset_size=1)
