from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_retina_gen.networks import GradingSpace


def features(n: int = 300) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    grades = torch.arange(n) % 3
    shared = torch.randn(n, 1, generator=generator) * torch.tensor([2.0, -1.0, 0.0, 0.0])
    return torch.randn(n, 4, generator=generator) + shared + 5 * grades[:, None], grades


def test_diagonal_is_the_mean_and_variance_per_grade() -> None:
    x, grades = features()
    space = GradingSpace(dimension=4, num_classes=4)
    space.fit(x, grades)
    for grade in range(3):
        own = x[grades == grade]
        torch.testing.assert_close(space.mean[grade], own.mean(0))
        torch.testing.assert_close(space.std[grade], own.std(0))
    assert space.count.tolist() == [100, 100, 100, 0]
    with pytest.raises(ValueError, match=r"grades \[3\]"):
        space.sample([3], seeds=[0])


def test_low_rank_covariance_is_that_of_the_features() -> None:
    x, grades = features()
    full, one = GradingSpace(dimension=4, num_classes=3, rank=3), GradingSpace(dimension=4, num_classes=3, rank=1)
    for space in (full, one):
        space.fit(x, grades)
    expected = torch.cov(x[grades == 1].T)
    torch.testing.assert_close(one.covariance(1).diagonal(), expected.diagonal(), atol=1e-4, rtol=1e-4)
    assert (one.covariance(1) - expected).norm() < (torch.diag(expected.diagonal()) - expected).norm() / 2
    assert (full.covariance(1) - expected).norm() < (one.covariance(1) - expected).norm()


def test_samples_have_the_distribution_and_depend_on_their_seed_alone() -> None:
    x, grades = features()
    space = GradingSpace(dimension=4, num_classes=3, rank=2)
    space.fit(x, grades)
    drawn = space.sample([2] * 4000, seeds=range(4000))
    torch.testing.assert_close(drawn.mean(0), space.mean[2], atol=0.15, rtol=0.05)
    torch.testing.assert_close(torch.cov(drawn.T), space.covariance(2), atol=0.4, rtol=0.1)
    torch.testing.assert_close(space.sample([0, 2], seeds=[5, 17])[1], drawn[17])
    other = GradingSpace(dimension=4, num_classes=3, rank=2)
    other.load_state_dict(space.state_dict())
    assert torch.equal(other.sample([2], seeds=[3]), drawn[3:4])


@settings(max_examples=15, deadline=None)
@given(n=st.integers(0, 12), rank=st.integers(0, 4), seed=st.integers(0, 999))
def test_few_photographs_never_give_nan(n: int, rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, grades = torch.randn(n, 5, generator=generator), torch.randint(0, 3, (n,), generator=generator)
    space = GradingSpace(dimension=5, num_classes=3, rank=rank)
    space.fit(x, grades)
    fitted = [g for g in range(3) if space.count[g] >= 2]
    assert space.sample(fitted, seeds=fitted).isfinite().all() if fitted else True
    assert space.covariance(0).isfinite().all()


def test_bad_input_is_named() -> None:
    space = GradingSpace(dimension=4, num_classes=3)
    for x, grades, message in (
        (torch.zeros(3, 5), torch.zeros(3).long(), "features"),
        (torch.full((3, 4), torch.nan), torch.zeros(3).long(), "finite"),
        (torch.zeros(3, 4), torch.tensor([0, 1, 3]), "want 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            space.fit(x, grades)
    with pytest.raises(ValueError, match="one seed each"):
        space.sample([0], seeds=[1, 2])
    with pytest.raises(ValueError, match="rank=4"):
        GradingSpace(dimension=4, rank=4)
