"""Figures of grading: functions of the confusion matrix of grades, and Ignite metrics that accumulate it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from torch import Tensor

from monai_retina_gen.metrics.base import FundusMetric, OutputTransform

NUM_GRADES = 5
REFERABLE_FROM = 2
"""Grade from which on an eye is referred."""


def grade_confusion_matrix(preds: Tensor, target: Tensor, num_classes: int = NUM_GRADES) -> Tensor:
    """Counts of predicted against true grades, int64 (num_classes, num_classes): rows are true, columns predicted.

    Args:
        preds: predicted grades, (n,), integers in [0, num_classes).
        target: true grades, (n,), integers in [0, num_classes).
        num_classes: number of grades of the scale, fixed whether or not every grade occurs.

    Raises:
        ValueError: if the tensors are not of one length, are empty, or hold other values than grades.
    """
    for name, grades in (("preds", preds), ("target", target)):
        _check_grades(name, grades, num_classes)
    if len(preds) != len(target):
        raise ValueError(f"preds has {len(preds)} grades and target {len(target)}: pass one of each a photograph")
    cells = target.long() * num_classes + preds.long().to(target.device)
    return torch.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def referable_confusion(confusion: Tensor) -> Tensor:
    """Confusion matrices of referable retinopathy, grades 2 to 4 against 0 and 1: `(..., 5, 5)` to `(..., 2, 2)`.

    Examples:
        >>> referable_confusion(torch.eye(5, dtype=torch.int64)).tolist()
        [[2, 0], [0, 3]]
    """
    halves = [confusion[..., :REFERABLE_FROM, :].sum(-2), confusion[..., REFERABLE_FROM:, :].sum(-2)]
    rows = torch.stack(halves, -2)
    return torch.stack([rows[..., :REFERABLE_FROM].sum(-1), rows[..., REFERABLE_FROM:].sum(-1)], -1)


def _check_grades(name: str, grades: Tensor, num_classes: int) -> None:
    if grades.ndim != 1 or grades.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(grades.shape)}: pass a non-empty (n,) tensor of grades")
    if grades.is_floating_point() or grades.is_complex():
        raise ValueError(f"{name} is {grades.dtype}: pass integer grades (of scores take argmax(dim=1) first)")
    low, high = int(grades.min()), int(grades.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{name} holds values in [{low}, {high}]: pass grades in [0, {num_classes - 1}], "
            "drop photographs without a grade, or set num_classes"
        )


def accuracy_from_confusion(confusion: Tensor) -> Tensor:
    """Accuracy of confusion matrices, (..., k, k) counts."""
    counts = confusion.double()
    return counts.diagonal(dim1=-2, dim2=-1).sum(dim=-1) / counts.sum(dim=(-2, -1))


def sensitivity_from_confusion(confusion: Tensor) -> Tensor:
    """True-positive rate of each grade, (..., k), of (..., k, k); nan for a grade without photographs."""
    counts = confusion.double()
    return counts.diagonal(dim1=-2, dim2=-1) / counts.sum(dim=-1)


def kappa_from_confusion(confusion: Tensor) -> Tensor:
    """Quadratic weighted kappa of confusion matrices, (..., k, k) counts; nan where undefined."""
    counts = confusion.double()
    grades = torch.arange(counts.shape[-1], dtype=counts.dtype, device=counts.device)
    weights = (grades[:, None] - grades[None, :]) ** 2
    rows, columns = counts.sum(dim=-1), counts.sum(dim=-2)
    expected = rows[..., :, None] * columns[..., None, :] / rows.sum(dim=-1)[..., None, None]
    # 0/0 is nan: exactly the case in which kappa has no value.
    return 1 - (weights * counts).sum(dim=(-2, -1)) / (weights * expected).sum(dim=(-2, -1))


def quadratic_weighted_kappa(preds: Tensor, target: Tensor, num_classes: int = NUM_GRADES) -> Tensor:
    r"""Quadratic weighted kappa of two gradings of the same photographs.

    .. math:: \kappa = 1 - \frac{\sum_{ij} (i-j)^2 O_{ij}}{\sum_{ij} (i-j)^2 E_{ij}}

    with the observed counts :math:`O` and those expected by chance, :math:`E_{ij} = r_i c_j / n`. Arguments and errors
    as of `grade_confusion_matrix`.

    Returns:
        float64 scalar in [-1, 1]; **nan where kappa is undefined**: both gradings use one and the same single
        grade, so that chance agreement is complete. One constant grading against a varying one is 0.

    Examples:
        >>> quadratic_weighted_kappa(torch.tensor([0, 1, 2, 4]), torch.tensor([0, 1, 2, 3])).item()
        0.928...
    """
    return kappa_from_confusion(grade_confusion_matrix(preds, target, num_classes))


class GradeMetric(FundusMetric):
    """Accumulates the confusion matrix over batches and processes; subclasses compute a figure from it.

    Args:
        num_classes: number of grades of the scale.
        output_transform: must give `(y_pred, y)`: `y_pred` is (B, num_classes) scores (logits or probabilities) or (B,)
            integer grades, `y` integer grades of shape (B,) or (B, 1).
        device: where the counts are kept.

    Raises:
        ValueError: in `update`, for scores of another width, and as `grade_confusion_matrix`.
        ignite.exceptions.NotComputableError: in `compute`, before any update.
    """

    _state_dict_all_req_keys = ("_confusion",)

    def __init__(
        self,
        *,
        num_classes: int = NUM_GRADES,
        output_transform: OutputTransform = lambda output: output,
        device: str | torch.device = "cpu",
    ) -> None:
        self.num_classes = num_classes
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        self._confusion = torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64, device=self._device)

    @reinit__is_reduced
    def update(self, output: Sequence[Tensor]) -> None:
        y_pred, y = self._plain(output)
        preds = y_pred if y_pred.ndim == 1 else self._argmax(y_pred)
        target = y.flatten() if y.ndim == 2 and y.shape[1] == 1 else y
        counts = grade_confusion_matrix(preds, target, self.num_classes)
        self._confusion += counts.to(self._device)

    def _argmax(self, scores: Tensor) -> Tensor:
        if scores.ndim != 2 or scores.shape[1] != self.num_classes:
            raise ValueError(
                f"y_pred has shape {tuple(scores.shape)}: pass (B, {self.num_classes}) scores or (B,) grades"
            )
        return scores.argmax(dim=1)

    @sync_all_reduce("_confusion")
    def compute(self) -> Any:
        if not bool(self._confusion.any()):
            raise NotComputableError(f"{type(self).__name__} has seen no grades: run an epoch before compute()")
        return self._from_confusion(self._confusion)

    @abstractmethod
    def _from_confusion(self, confusion: Tensor) -> Any:
        """Figure of the whole confusion matrix."""


class GradeAccuracy(GradeMetric):
    """Ignite metric of `accuracy_from_confusion`. Arguments as in `GradeMetric`.

    Examples:
        >>> metric = GradeAccuracy()
        >>> metric.update((torch.tensor([0, 1]), torch.tensor([0, 4])))
        >>> metric.compute()
        0.5
    """

    def _from_confusion(self, confusion: Tensor) -> float:
        return float(accuracy_from_confusion(confusion))


class GradeSensitivity(GradeMetric):
    """Ignite metric of `sensitivity_from_confusion`; `compute` gives one entry a grade, so that loggers take it.

    Arguments as in `GradeMetric`. Attached to an engine, the entries also stand by themselves in
    `engine.state.metrics`.

    Examples:
        >>> metric = GradeSensitivity(num_classes=2)
        >>> metric.update((torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1])))
        >>> metric.compute()
        {'sensitivity_grade_0': 1.0, 'sensitivity_grade_1': 0.5}
    """

    def _from_confusion(self, confusion: Tensor) -> dict[str, float]:
        shares = sensitivity_from_confusion(confusion).tolist()
        return {f"sensitivity_grade_{grade}": share for grade, share in enumerate(shares)}


class QuadraticWeightedKappa(GradeMetric):
    """Ignite metric of `quadratic_weighted_kappa`, exact over batches and processes. Arguments as in `GradeMetric`.

    Examples:
        >>> metric = QuadraticWeightedKappa(num_classes=5)
        >>> metric.update((torch.eye(5), torch.arange(5)))
        >>> metric.compute()
        1.0
    """

    def _from_confusion(self, confusion: Tensor) -> float:
        return float(kappa_from_confusion(confusion))
