"""Directions from pairs of eyes: the mean change, the surest channels, and what an edit makes of them."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from monai_retina_gen.editing import StyleRange, StyleShift, pair_directions, pair_vector
from monai_retina_gen.networks import StyleSpace

SPACE = StyleSpace(names=["input", "L0", "rgb"], widths=[4, 20, 6])


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(0)
    before, noise = torch.randn(2, 40, 30, generator=drawn)
    lesion = torch.zeros(30)
    lesion[[1, 7, 12, 26]] = torch.tensor([5.0, 2.0, -1.5, 1.0])
    return before, before + lesion + 0.5 * noise


def test_the_mean_change_without_the_pose(pair: tuple[Tensor, Tensor]) -> None:
    vector = pair_vector(*pair, SPACE, times=2.0)
    assert not vector[:4].any()
    torch.testing.assert_close(vector[4:], 2 * (pair[1] - pair[0]).mean(0)[4:])


def test_the_surest_channels_are_those_of_the_paired_t_test(pair: tuple[Tensor, Tensor]) -> None:
    vector = pair_vector(*pair, SPACE, channels=3)
    t = abs(stats.ttest_rel(pair[1].numpy(), pair[0].numpy()).statistic)
    t[:4] = 0
    assert set(vector.nonzero().flatten().tolist()) == set(t.argsort()[-3:].tolist()) == {7, 12, 26}


def test_an_edit_adds_the_mean_change(pair: tuple[Tensor, Tensor]) -> None:
    both = torch.cat(pair)
    directions = pair_directions({"ex": pair, "he": pair[::-1]}, StyleRange.of(both), SPACE, times={"ex": 0.1, "he": 1})
    moved = StyleShift(directions, SPACE)(both.mean(0, keepdim=True), [("ex",)], torch.tensor([0.5]))
    torch.testing.assert_close(moved[0] - both.mean(0), 0.5 * directions.vectors["ex"], atol=1e-5, rtol=1e-4)
    together = StyleShift(directions, SPACE).vector(("ex", "he"))
    torch.testing.assert_close(together, directions.vectors["ex"] + directions.vectors["he"])


@pytest.mark.parametrize("shapes", [((1, 30), (1, 30)), ((4, 30), (3, 30)), ((30,), (30,))])
def test_no_pairs(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="at least two pairs"):
        pair_vector(torch.zeros(shapes[0]), torch.zeros(shapes[1]), SPACE)
