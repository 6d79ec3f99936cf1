"""Accuracy: the share of photographs whose grade is predicted exactly."""

from __future__ import annotations

from torch import Tensor

from monai_retina_gen.metrics.confusion import NUM_GRADES, GradeMetric, grade_confusion_matrix

__all__ = ["GradeAccuracy", "accuracy_from_confusion", "grade_accuracy"]


def grade_accuracy(preds: Tensor, target: Tensor, num_classes: int = NUM_GRADES) -> Tensor:
    """Share of photographs graded exactly right.

    Args:
        preds: predicted grades, (n,), integers in [0, num_classes).
        target: true grades, (n,), integers in [0, num_classes).
        num_classes: number of grades of the scale.

    Returns:
        float64 scalar in [0, 1].

    Raises:
        ValueError: as `grade_confusion_matrix`.

    Examples:
        >>> import torch
        >>> grade_accuracy(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 4])).item()
        0.75
    """
    return accuracy_from_confusion(grade_confusion_matrix(preds, target, num_classes))


def accuracy_from_confusion(confusion: Tensor) -> Tensor:
    """Accuracy of confusion matrices, (..., k, k) counts."""
    counts = confusion.double()
    return counts.diagonal(dim1=-2, dim2=-1).sum(dim=-1) / counts.sum(dim=(-2, -1))


class GradeAccuracy(GradeMetric):
    """Ignite metric of `grade_accuracy`. Arguments as in `GradeMetric`.

    Examples:
        >>> import torch
        >>> metric = GradeAccuracy()
        >>> metric.update((torch.tensor([0, 1]), torch.tensor([0, 4])))
        >>> metric.compute()
        0.5
    """

    def _from_confusion(self, confusion: Tensor) -> float:
        return float(accuracy_from_confusion(confusion))
