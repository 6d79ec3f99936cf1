"""Kappa, accuracy, sensitivity and confusion matrix against scikit-learn, and as Ignite metrics."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import CohenKappa
from monai.handlers import IgniteMetricHandler
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, recall_score

from monai_retina_gen.metrics import (
    GradeAccuracy,
    GradeSensitivity,
    QuadraticWeightedKappa,
    accuracy_from_confusion,
    grade_confusion_matrix,
    quadratic_weighted_kappa,
    sensitivity_from_confusion,
)

GRADES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


def _random(n: int = 200, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, 5, (n,), generator=generator) for _ in range(2))


@given(pairs=GRADES)
@settings(max_examples=40, deadline=None)
def test_matches_scikit_learn(pairs):
    preds, target = (torch.tensor(side) for side in zip(*pairs, strict=True))
    labels = list(range(5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kappa = cohen_kappa_score(target, preds, labels=labels, weights="quadratic")
        recall = recall_score(target, preds, labels=labels, average=None, zero_division=float("nan"))
    assert grade_confusion_matrix(preds, target).tolist() == confusion_matrix(target, preds, labels=labels).tolist()
    assert float(quadratic_weighted_kappa(preds, target)) == pytest.approx(kappa, abs=1e-12, nan_ok=True)
    confusion = grade_confusion_matrix(preds, target)
    assert sensitivity_from_confusion(confusion).tolist() == pytest.approx(list(recall), nan_ok=True)
    assert float(accuracy_from_confusion(confusion)) == pytest.approx(accuracy_score(target, preds))


def test_kappa_matches_ignite():
    preds, target = _random()
    oracle = CohenKappa(weights="quadratic")
    oracle.update((preds, target))
    assert float(quadratic_weighted_kappa(preds, target)) == pytest.approx(oracle.compute(), abs=1e-12)


def test_kappa_is_undefined_where_all_agree_on_one_grade():
    same = torch.full((3,), 2)
    assert math.isnan(quadratic_weighted_kappa(same, same))
    assert quadratic_weighted_kappa(same, torch.tensor([1, 2, 3])) == 0


@given(pairs=GRADES)
@settings(max_examples=25, deadline=None)
def test_kappa_is_symmetric_and_bounded(pairs):
    preds, target = (torch.tensor(side) for side in zip(*pairs, strict=True))
    kappa, swapped = quadratic_weighted_kappa(preds, target), quadratic_weighted_kappa(target, preds)
    torch.testing.assert_close(kappa, swapped, equal_nan=True)
    assert math.isnan(kappa) or -1 - 1e-12 <= kappa <= 1


@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        ([0, 1], [0], "preds has 2 grades and target 1"),
        ([], [], "preds has shape"),
        ([0, 5], [0, 1], r"preds holds values in \[0, 5\]"),
        ([0, 1], [0, -1], r"target holds values in \[-1, 0\]"),
        ([0.0, 1.0], [0, 1], "preds is torch.float32"),
    ],
)
def test_bad_grades_are_named(preds, target, message):
    with pytest.raises(ValueError, match=message):
        quadratic_weighted_kappa(torch.tensor(preds), torch.tensor(target))


@pytest.mark.parametrize("metric_class", [QuadraticWeightedKappa, GradeAccuracy, GradeSensitivity])
def test_over_batches_equals_all_at_once(metric_class):
    preds, target = _random()
    batched, whole = metric_class(), metric_class()
    whole.update((preds, target))
    for chunk in torch.arange(200).split(33):
        scores = torch.nn.functional.one_hot(preds[chunk], 5).float()
        batched.update((scores, target[chunk][:, None]))
    assert batched.compute() == whole.compute()
    batched.reset()
    with pytest.raises(NotComputableError, match="seen no grades"):
        batched.compute()


def test_attaches_to_an_engine_and_starts_anew_each_epoch():
    preds, target = _random(40)
    engine = Engine(lambda _engine, index: (preds[index], target[index]))
    QuadraticWeightedKappa().attach(engine, "kappa")
    GradeSensitivity().attach(engine, "sensitivity")
    metrics = engine.run(torch.arange(40).split(16), max_epochs=2).metrics
    assert metrics["kappa"] == pytest.approx(float(quadratic_weighted_kappa(preds, target)))
    sensitivity = sensitivity_from_confusion(grade_confusion_matrix(preds, target))
    assert metrics["sensitivity_grade_3"] == pytest.approx(float(sensitivity[3]))


def test_monai_handler_gives_the_same_figure():
    preds, target = _random(40)
    engine = Engine(lambda _engine, index: (preds[index], target[index]))
    IgniteMetricHandler(metric_fn=QuadraticWeightedKappa()).attach(engine, "kappa")
    metrics = engine.run(torch.arange(40).split(16), max_epochs=2).metrics
    assert metrics["kappa"] == pytest.approx(float(quadratic_weighted_kappa(preds, target)))


def test_lists_of_decollated_tensors_are_taken():
    engine = Engine(lambda _engine, _batch: ([torch.eye(5)[1], torch.eye(5)[4]], [torch.tensor(1), torch.tensor(0)]))
    GradeAccuracy().attach(engine, "accuracy")
    assert engine.run([0]).metrics["accuracy"] == 0.5


def test_scores_of_another_width_are_an_error():
    with pytest.raises(ValueError, match="y_pred has shape"):
        GradeAccuracy().update((torch.rand(2, 3), torch.tensor([0, 1])))


def test_state_survives_a_checkpoint():
    preds, target = _random()
    first, second = QuadraticWeightedKappa(), QuadraticWeightedKappa()
    first.update((preds, target))
    second.load_state_dict(first.state_dict())
    assert second.compute() == first.compute()
