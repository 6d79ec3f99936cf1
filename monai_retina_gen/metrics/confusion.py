"""Confusion matrix of grades, and the accumulating Ignite base of every metric that is a function of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from torch import Tensor

from monai_retina_gen.metrics.base import FundusMetric, OutputTransform

__all__ = ["NUM_GRADES", "GradeConfusionMatrix", "GradeMetric", "grade_confusion_matrix", "referable_confusion"]

NUM_GRADES = 5
REFERABLE_FROM = 2
"""Grade from which on an eye is referred."""


def grade_confusion_matrix(preds: Tensor, target: Tensor, num_classes: int = NUM_GRADES) -> Tensor:
    """Counts of predicted against true grades, with a fixed number of classes.

    Args:
        preds: predicted grades, (n,), integers in [0, num_classes).
        target: true grades, (n,), integers in [0, num_classes).
        num_classes: number of grades of the scale (5 for the International Clinical Diabetic Retinopathy
            scale), fixed whether or not every grade occurs.

    Returns:
        int64 (num_classes, num_classes): rows are the true grades, columns the predicted ones.

    Raises:
        ValueError: if the tensors are not of one length, are empty, or hold other values than grades.

    Examples:
        >>> grade_confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]), num_classes=2)
        tensor([[1, 1],
                [0, 1]])
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


class GradeMetric(FundusMetric):
    """Accumulates the confusion matrix over batches and processes; subclasses compute a figure from it.

    Args:
        num_classes: number of grades of the scale.
        output_transform: see `ignite.metrics.Metric`; must give `(y_pred, y)`: `y_pred` is
            (B, num_classes) scores (logits or probabilities) or (B,) integer grades, `y` integer grades of
            shape (B,) or (B, 1).
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
        """Forget all batches."""
        self._confusion = torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64, device=self._device)

    @reinit__is_reduced
    def update(self, output: Sequence[Tensor]) -> None:
        """Count one batch of `(y_pred, y)`."""
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
        """The figure of all batches (of all processes)."""
        if not bool(self._confusion.any()):
            raise NotComputableError(f"{type(self).__name__} has seen no grades: run an epoch before compute()")
        return self._from_confusion(self._confusion)

    @abstractmethod
    def _from_confusion(self, confusion: Tensor) -> Any:
        """Figure of the whole confusion matrix."""


class GradeConfusionMatrix(GradeMetric):
    """Ignite metric of `grade_confusion_matrix`: rows are true grades. Arguments as in `GradeMetric`."""

    def _from_confusion(self, confusion: Tensor) -> Tensor:
        return confusion.clone()
