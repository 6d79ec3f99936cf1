"""Quadratic weighted kappa: agreement of two gradings beyond chance (Cohen, Psychological Bulletin 1968)."""

from __future__ import annotations

import torch
from torch import Tensor

from monai_retina_gen.metrics.confusion import NUM_GRADES, GradeMetric, grade_confusion_matrix

__all__ = ["QuadraticWeightedKappa", "kappa_from_confusion", "quadratic_weighted_kappa"]


def quadratic_weighted_kappa(preds: Tensor, target: Tensor, num_classes: int = NUM_GRADES) -> Tensor:
    r"""Quadratic weighted kappa of two gradings of the same photographs.

    .. math:: \kappa = 1 - \frac{\sum_{ij} (i-j)^2 O_{ij}}{\sum_{ij} (i-j)^2 E_{ij}}

    with the observed counts :math:`O` and those expected by chance, :math:`E_{ij} = r_i c_j / n`.

    Args:
        preds: predicted grades, (n,), integers in [0, num_classes).
        target: true grades, (n,), integers in [0, num_classes).
        num_classes: number of grades of the scale, fixed whether or not every grade occurs.

    Returns:
        float64 scalar in [-1, 1]; **nan where kappa is undefined**: both gradings use one and the same single
        grade, so that chance agreement is complete. One constant grading against a varying one is 0.

    Raises:
        ValueError: as `grade_confusion_matrix`.

    Examples:
        >>> quadratic_weighted_kappa(torch.tensor([0, 1, 2, 4]), torch.tensor([0, 1, 2, 3])).item()
        0.928...
        >>> quadratic_weighted_kappa(torch.tensor([2, 2]), torch.tensor([2, 2])).item()
        nan
    """
    return kappa_from_confusion(grade_confusion_matrix(preds, target, num_classes))


def kappa_from_confusion(confusion: Tensor) -> Tensor:
    """Quadratic weighted kappa of confusion matrices, (..., k, k) counts; nan where undefined."""
    counts = confusion.double()
    grades = torch.arange(counts.shape[-1], dtype=counts.dtype, device=counts.device)
    weights = (grades[:, None] - grades[None, :]) ** 2
    rows, columns = counts.sum(dim=-1), counts.sum(dim=-2)
    expected = rows[..., :, None] * columns[..., None, :] / rows.sum(dim=-1)[..., None, None]
    # 0/0 is nan: exactly the case in which kappa has no value.
    return 1 - (weights * counts).sum(dim=(-2, -1)) / (weights * expected).sum(dim=(-2, -1))


class QuadraticWeightedKappa(GradeMetric):
    """Ignite metric of `quadratic_weighted_kappa`, exact over batches and processes.

    Arguments as in `GradeMetric`.

    Examples:
        >>> metric = QuadraticWeightedKappa(num_classes=5)
        >>> metric.update((torch.eye(5), torch.arange(5)))
        >>> metric.compute()
        1.0
    """

    def _from_confusion(self, confusion: Tensor) -> float:
        return float(kappa_from_confusion(confusion))
