"""Words from p-values, and Holm's correction against its definition."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_retina_gen.metrics import holm, verdict


def test_holm_by_hand() -> None:
    # smallest 0.005 * 4, then 0.01 * 3, then 0.03 * 2, then 0.04 * 1 raised to the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([None, 0.01]) == [1.0, 0.02]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_raw_and_bonferroni(p_values: list[float]) -> None:
    for raw, adjusted in zip(p_values, holm(p_values), strict=True):
        assert raw <= adjusted <= 1
    smallest = min(range(len(p_values)), key=p_values.__getitem__)
    assert holm(p_values)[smallest] == min(1.0, len(p_values) * p_values[smallest])


@pytest.mark.parametrize(
    ("difference", "p", "seeds", "wanted"),
    [
        (0.3, 0.049, 5, "helps"),
        (-0.3, 0.049, 9, "harms"),
        (0.3, 0.05, 5, "no conclusion"),
        (0.3, None, 5, "no conclusion"),
        (None, None, 5, "no conclusion"),
        (0.3, 0.0, 4, "no verdict, too few seeds"),
        (0.3, 0.0, 1, "no verdict, too few seeds"),
    ],
)
def test_words(difference: float | None, p: float | None, seeds: int, wanted: str) -> None:
    assert verdict(difference, p, seeds) == wanted
