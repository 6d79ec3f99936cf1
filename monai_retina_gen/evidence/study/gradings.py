"""Grades that the graders of one condition give to the same photographs, and figures of them with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.metrics import crossed_interval, grade_confusion_matrix

__all__ = ["Gradings", "figure_interval"]


@dataclass(frozen=True)
class Gradings:
    """What several graders of one condition say of the same photographs.

    Args:
        preds: `(U, N)` labels, one row a grader.
        target: `(N,)` true labels.
        groups: patient or photograph of each, drawn together.
        strata: backbone of each grader.
        num_classes: number of labels.
    """

    preds: Tensor
    target: Tensor
    groups: Sequence[str]
    strata: Sequence[str]
    num_classes: int

    def counts(self) -> Tensor:
        """Confusion matrices by grader and group: `(U, G, k, k)` float64."""
        numbers = {group: number for number, group in enumerate(dict.fromkeys(self.groups))}
        group = torch.tensor([numbers[name] for name in self.groups])
        k = self.num_classes
        rows = []
        for preds in self.preds:
            grade_confusion_matrix(preds, self.target, k)  # checks the labels
            cells = (group * k + self.target) * k + preds
            rows.append(torch.bincount(cells, minlength=len(numbers) * k * k).reshape(len(numbers), k, k))
        return torch.stack(rows).double()


def figure_interval(
    gradings: Gradings,
    statistic: Callable[[Tensor], Tensor],
    baseline: Gradings | None = None,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> dict[str, Any]:
    """Mean figure of the graders, or of its difference to a baseline's, as `crossed_interval` gives it.

    Args:
        gradings: of one condition.
        statistic: of `(..., k, k)` confusion matrices.
        baseline: of another condition, by the same graders and seeds on the same photographs.
        within: range of the figure.

    Raises:
        ValueError: for a baseline that is judged on other photographs or by other graders.
    """
    counts = None
    if baseline is not None:
        same = torch.equal(gradings.target, baseline.target) and list(gradings.groups) == list(baseline.groups)
        if not same or list(gradings.strata) != list(baseline.strata):
            raise ValueError("the two conditions were not judged on the same photographs by the same graders and seeds")
        counts = baseline.counts()
    found = crossed_interval(gradings.counts(), statistic, baseline=counts, strata=gradings.strata, within=within)
    return found.as_dict()
