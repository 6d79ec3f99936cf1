"""FID against torch-fidelity, MONAI and closed forms."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from monai_retina_gen.metrics import kernel as frechet_module
from monai_retina_gen.metrics.kernel import frechet_distance

pytestmark = pytest.mark.filterwarnings("ignore:FID of")


def _features(n: int, d: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=generator, dtype=torch.float64)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mixing + shift


def _exact_moments(n: int, mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """A sample whose empirical mean and (unbiased) covariance are exactly the given ones."""
    noise = torch.randn(n, len(mean), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    centred = noise - noise.mean(dim=0)
    whitener = torch.linalg.inv(torch.linalg.cholesky(torch.cov(centred.T)))
    return centred @ whitener.T @ torch.linalg.cholesky(covariance).T + mean


@pytest.mark.parametrize(("n", "m", "d"), [(40, 40, 16), (100, 60, 64), (30, 25, 64), (200, 20, 32)])
def test_matches_torch_fidelity(n, m, d):
    real, generated = _features(n, d, 0), _features(m, d, 1, shift=0.5)
    oracle = fid_statistics_to_metric(
        fid_features_to_statistics(generated), fid_features_to_statistics(real), verbose=False
    )
    assert float(frechet_distance(real, generated)) == pytest.approx(oracle["frechet_inception_distance"], rel=1e-5)


def test_matches_the_closed_form_of_two_gaussians():
    mean, generator = torch.tensor([1.0, -2.0, 0.5]).double(), torch.Generator().manual_seed(0)
    first, second = (torch.randn(3, 3, generator=generator).double() for _ in range(2))
    s1, s2 = first @ first.T + torch.eye(3), second @ second.T + torch.eye(3)
    real, generated = _exact_moments(50, torch.zeros(3).double(), s1), _exact_moments(40, mean, s2)
    root = torch.linalg.eigvals(s1 @ s2).real.sqrt().sum()
    truth = mean.square().sum() + s1.trace() + s2.trace() - 2 * root
    assert float(frechet_distance(real, generated)) == pytest.approx(float(truth), rel=1e-10)


def test_chunks_do_not_matter(monkeypatch):
    real, generated = _features(100, 8, 0), _features(90, 8, 1)
    whole = frechet_distance(real, generated)
    monkeypatch.setattr(frechet_module, "CHUNK_ROWS", 7)
    torch.testing.assert_close(frechet_distance(real, generated), whole, rtol=1e-12, atol=1e-12)


@given(
    n=st.integers(2, 20),
    m=st.integers(2, 20),
    d=st.integers(1, 12),
    scale=st.floats(0.01, 100),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_invariants(n, m, d, scale, seed):
    real, generated = _features(n, d, seed), _features(m, d, seed + 1, shift=1.0)
    value = float(frechet_distance(real, generated))
    close = {"rel": 1e-6, "abs": 1e-9}
    assert float(frechet_distance(real, real.flip(0))) == pytest.approx(0, abs=1e-9 * float(real.square().sum()))
    assert float(frechet_distance(generated, real)) == pytest.approx(value, **close)
    assert float(frechet_distance(real.flip(0), generated.roll(1, 0))) == pytest.approx(value, **close)
    assert float(frechet_distance(scale * real, scale * generated)) == pytest.approx(
        scale**2 * value, rel=1e-6, abs=1e-6
    )


def test_constant_images():
    ones = torch.ones(10, 4)
    assert frechet_distance(ones, ones) == 0
    assert float(frechet_distance(ones, 3 * ones)) == pytest.approx(16)


def test_warns_where_rank_deficient():
    with pytest.warns(UserWarning, match="rank-deficient: not comparable with papers"):
        frechet_distance(torch.rand(4, 4), torch.rand(9, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance(torch.rand(5, 4), torch.rand(9, 4))


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (torch.rand(1, 3), torch.rand(5, 3), "real has n = 1 features"),
        (torch.rand(5, 3), torch.rand(0, 3), "generated has n = 0 features"),
        (torch.rand(5, 3), torch.rand(5, 4), "real has d = 3 and generated d = 4"),
        (torch.rand(5, 3, 2), torch.rand(5, 3), "real has shape"),
        (torch.rand(5, 3), torch.full((5, 3), float("nan")), "generated holds NaN"),
    ],
)
def test_bad_features_are_named(real, generated, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(real, generated)
