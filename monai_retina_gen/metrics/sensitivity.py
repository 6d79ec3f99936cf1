"""Sensitivity (true-positive rate) of each grade: the share of its photographs that are graded so."""

from __future__ import annotations

from torch import Tensor

from monai_retina_gen.metrics.confusion import NUM_GRADES, GradeMetric, grade_confusion_matrix

__all__ = ["GradeSensitivity", "sensitivity_from_confusion", "sensitivity_per_grade"]


def sensitivity_per_grade(preds: Tensor, target: Tensor, num_classes: int = NUM_GRADES) -> Tensor:
    """True-positive rate of each grade.

    Args:
        preds: predicted grades, (n,), integers in [0, num_classes).
        target: true grades, (n,), integers in [0, num_classes).
        num_classes: number of grades of the scale.

    Returns:
        float64 (num_classes,) in [0, 1]; nan for a grade without a photograph in `target`.

    Raises:
        ValueError: as `grade_confusion_matrix`.

    Examples:
        >>> import torch
        >>> sensitivity_per_grade(torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1]), num_classes=3).tolist()
        [1.0, 0.5, nan]
    """
    return sensitivity_from_confusion(grade_confusion_matrix(preds, target, num_classes))


def sensitivity_from_confusion(confusion: Tensor) -> Tensor:
    """Sensitivity per grade of confusion matrices, (..., k, k) counts with true grades in rows: (..., k)."""
    counts = confusion.double()
    return counts.diagonal(dim1=-2, dim2=-1) / counts.sum(dim=-1)


class GradeSensitivity(GradeMetric):
    """Ignite metric of `sensitivity_per_grade`; `compute` gives one entry a grade, so that loggers take it.

    Arguments as in `GradeMetric`. Attached to an engine, the entries also stand by themselves in
    `engine.state.metrics`.

    Examples:
        >>> import torch
        >>> metric = GradeSensitivity(num_classes=2)
        >>> metric.update((torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1])))
        >>> metric.compute()
        {'sensitivity_grade_0': 1.0, 'sensitivity_grade_1': 0.5}
    """

    def _from_confusion(self, confusion: Tensor) -> dict[str, float]:
        shares = sensitivity_from_confusion(confusion).tolist()
        return {f"sensitivity_grade_{grade}": share for grade, share in enumerate(shares)}
