"""Sparse composition against closed forms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.editing import sparse_composition


def random_matrix(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_without_penalty_is_the_shortest_least_squares_solution() -> None:
    effects, wanted = random_matrix(3, 8, 0), torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    found = sparse_composition(effects, wanted)
    torch.testing.assert_close(found, torch.linalg.pinv(effects) @ wanted)


def test_kept_rows_as_in_the_lagrange_equations() -> None:
    # More wanted rows than free directions: E'E is regular, so the KKT system has one solution.
    effects, kept = random_matrix(6, 4, 1), random_matrix(2, 4, 2)
    wanted = random_matrix(6, 1, 3)[:, 0]
    system = torch.cat(
        [torch.cat([effects.T @ effects, kept.T], 1), torch.cat([kept, torch.zeros(2, 2, dtype=torch.float64)], 1)]
    )
    exact = torch.linalg.solve(system, torch.cat([effects.T @ wanted, torch.zeros(2, dtype=torch.float64)]))[:4]
    torch.testing.assert_close(sparse_composition(effects, wanted, kept=kept), exact)


def test_energy_is_the_ridge_solution_and_knows_what_cancels() -> None:
    effects, wanted, rows = (
        random_matrix(2, 6, 4),
        torch.tensor([1.0, 0.0], dtype=torch.float64),
        random_matrix(9, 6, 5),
    )
    energy = rows.T @ rows
    exact = torch.linalg.solve(effects.T @ effects + energy, effects.T @ wanted)
    torch.testing.assert_close(sparse_composition(effects, wanted, energy=energy), exact)
    # Two channels whose changes elsewhere cancel are worth more than one that changes a little.
    pair = torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[3.0, -3.0, 1.0]])
    found = sparse_composition(pair[0], torch.ones(1), energy=100 * pair[1].T @ pair[1])
    assert float((pair[1].double() @ found).abs()) < 1e-2
    assert float(found[:2].min()) > 0.2


def test_penalty_chooses_the_channel_that_does_the_most_with_the_least() -> None:
    effects = torch.tensor([[1.0, 3.0, 0.1], [0.0, 0.0, 1.0]])
    found = sparse_composition(effects, torch.tensor([3.0, 0.0]), penalty=0.2)
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), atol=1e-6, rtol=0)


def test_penalty_on_an_orthonormal_problem_keeps_what_soft_thresholding_keeps() -> None:
    wanted = torch.tensor([2.0, 1.0, 0.1, -0.3])
    found = sparse_composition(torch.eye(4), wanted, penalty=0.2)  # threshold 0.2 * 2
    torch.testing.assert_close(found, torch.tensor([2.0, 1.0, 0.0, 0.0], dtype=torch.float64), atol=1e-6, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.9), st.floats(0.1, 3))
def test_kept_rows_stay_and_limits_hold(seed: int, penalty: float, limit: float) -> None:
    effects, kept, wanted = random_matrix(4, 12, seed), random_matrix(3, 12, seed + 1), random_matrix(4, 1, seed + 2)
    found = sparse_composition(effects, wanted[:, 0], kept=kept, penalty=penalty, limit=limit)
    assert float((kept @ found).abs().max()) < 1e-6
    assert float(found.abs().max()) <= limit + 1e-6


def test_nothing_moves_where_everything_must_stay() -> None:
    found = sparse_composition(torch.ones(1, 2), torch.ones(1), kept=torch.eye(2))
    assert not found.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wanted": torch.ones(2)}, "want \\(L, M\\)"),
        ({"penalty": 2.0}, "0 to 1"),
        ({"kept": torch.ones(1, 5)}, "as many channels"),
        ({"effects": torch.full((1, 3), torch.nan)}, "finite"),
    ],
)
def test_bad_input(arguments: dict[str, object], message: str) -> None:
    whole = {"effects": torch.ones(1, 3), "wanted": torch.ones(1), **arguments}
    with pytest.raises(ValueError, match=message):
        sparse_composition(**whole)
