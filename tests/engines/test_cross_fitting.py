"""Folds by photograph, out-of-fold judgement, and temperatures against scipy."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from monai_retina_gen.engines import (
    expected_calibration_error,
    fit_temperature,
    fold_datalist,
    fold_of_group,
    training_folds,
)
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.networks import CrossFittedGraders


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), folds=st.integers(2, 6), sizes=st.lists(st.integers(1, 3), min_size=12, max_size=40))
def test_folds_keep_groups_together_and_share_grades(seed: int, folds: int, sizes: list[int]) -> None:
    items = [{"group": f"p{i}", "grade": i % 3, "n": k} for i, size in enumerate(sizes) for k in range(size)]
    found = fold_of_group(items, folds, seed=seed)
    assert set(found) == {f"p{i}" for i in range(len(sizes))}
    assert set(found.values()) == set(range(folds))
    assert found == fold_of_group(items[::-1], folds, seed=seed)
    counts = [sum(found[item["group"]] == f for item in items) for f in range(folds)]
    assert max(counts) - min(counts) <= 0.35 * len(items) / folds + 6
    for (train, held_out), fold in zip(training_folds(items, found), range(folds), strict=True):
        assert {found[item["group"]] for item in held_out} == {fold}
        assert not {item["group"] for item in train} & {item["group"] for item in held_out}
        assert len(train) + len(held_out) == len(items)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(1, 8), min_size=12, max_size=30))
def test_a_block_stays_in_one_fold(seed: int, sizes: list[int]) -> None:
    blocks = {f"b{i}": [f"b{i}p{k}" for k in range(size)] for i, size in enumerate(sizes)}
    items = [{"group": g, "block": b, "grade": len(g) % 3} for b, groups in blocks.items() for g in groups]
    found = fold_of_group(items, 4, seed=seed)
    assert found.keys() == {item["group"] for item in items}
    assert all(len({found[group] for group in groups}) == 1 for groups in blocks.values())
    counts = [list(found.values()).count(fold) for fold in range(4)]
    assert max(counts) - min(counts) <= 0.35 * len(items) / 4 + 8
    with pytest.raises(DatalistError, match="number of groups or blocks"):
        fold_of_group(items, len(blocks) + 1)


def test_folds_that_cannot_be() -> None:
    with pytest.raises(DatalistError, match="number of groups"):
        fold_of_group([{"group": "a"}, {"group": "b"}], 5)
    with pytest.raises(DatalistError, match="folds=1"):
        fold_of_group([{"group": "a"}, {"group": "b"}], 1)


def test_datalists_of_all_folds_cover_everything_once() -> None:
    items = [{"image": f"{i}.png", "group": f"p{i // 2}", "grade": i % 5} for i in range(60)]
    whole = {"name": "x", "training": items[:50], "validation": items[50:], "test": [{"image": "t.png", "group": "t"}]}
    parts = [fold_datalist(whole, fold) for fold in range(5)]
    assert sorted(i["image"] for part in parts for i in part["validation"]) == sorted(i["image"] for i in items)
    for part in parts:
        assert not {i["group"] for i in part["training"]} & {i["group"] for i in part["validation"]}
        assert part["test"] == whole["test"]
        assert part["name"] == "x"
    with pytest.raises(DatalistError, match="fold=5"):
        fold_datalist(whole, 5)


class Says(nn.Module):
    def __init__(self, grade: int) -> None:
        super().__init__()
        self.grade = grade

    def forward(self, image: Tensor) -> Tensor:
        return 4.0 * torch.eye(5)[[self.grade] * len(image)]


def test_a_photograph_is_judged_only_by_the_network_that_never_saw_it() -> None:
    graders = CrossFittedGraders(graders=[Says(0), Says(1), Says(2)], folds={"a": 0, "b": 1, "c": 2}, temperature=2.0)
    p = graders(torch.zeros(4, 3, 8, 8), ["c", "a", None, "elsewhere"])
    assert p[:2].argmax(1).tolist() == [2, 0]
    assert float(p[0, 2]) == pytest.approx(float(torch.softmax(torch.tensor([2.0, 0, 0, 0, 0]), 0)[0]))
    torch.testing.assert_close(p[2], p[3])
    torch.testing.assert_close(p[2, 0], p[2, 2])
    torch.testing.assert_close(p.sum(1), torch.ones(4))
    with pytest.raises(ValueError, match="give one each"):
        graders(torch.zeros(4, 3, 8, 8), ["a"])
    with pytest.raises(ValueError, match="one grader a fold"):
        CrossFittedGraders(graders=[Says(0)], folds={"a": 0, "b": 1})


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.3, 4.0))
def test_temperature_is_the_minimum(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(200, 5, generator=generator) * scale
    target = torch.multinomial(
        torch.softmax(torch.randn(200, 5, generator=generator) + logits / 2, 1), 1, generator=generator
    )[:, 0]

    def entropy(log_t: float) -> float:
        return float(nn.functional.cross_entropy(logits.double() / 2.718281828459045**log_t, target))

    best = minimize_scalar(entropy, bounds=(-2.9, 2.9), method="bounded", options={"xatol": 1e-7})
    found = fit_temperature(logits, target)
    assert entropy(torch.tensor(found).log().item()) <= best.fun + 1e-9


def test_an_overconfident_network_is_calibrated() -> None:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(4000, 5, generator=generator) * 1.5
    target = torch.multinomial(torch.softmax(honest, 1), 1, generator=generator)[:, 0]
    logits = honest * 3
    temperature = fit_temperature(logits, target)
    assert temperature == pytest.approx(3, rel=0.1)
    assert expected_calibration_error(logits, target, temperature) < 0.03
    assert expected_calibration_error(logits, target) > 0.15


def test_temperature_of_bad_input() -> None:
    for logits, target in ((torch.zeros(3, 5), torch.zeros(2)), (torch.full((3, 5), torch.nan), torch.zeros(3))):
        with pytest.raises(ValueError, match="want finite"):
            fit_temperature(logits, target)
    always_right = fit_temperature(torch.eye(5), torch.arange(5))
    assert always_right == pytest.approx(0.05, rel=1e-3)
