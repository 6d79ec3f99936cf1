"""Grades that the graders of one condition give to the same photographs, and figures of them with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.metrics.bootstrap import confusion_per_group
from monai_retina_gen.metrics.crossed_effects import crossed_interval


@dataclass(frozen=True)
class Gradings:
    """What several graders of one condition say of the same photographs."""

    preds: Tensor  # (U, N) labels, one row a grader
    target: Tensor  # (N,) true labels
    groups: Sequence[str]  # patient or photograph of each, drawn together
    strata: Sequence[str]  # backbone of each grader
    num_classes: int

    def counts(self) -> Tensor:
        """Confusion matrices by grader and group: `(U, G, k, k)` float64."""
        each = [confusion_per_group(preds, self.target, self.groups, self.num_classes) for preds in self.preds]
        return torch.stack(each)


def figure_interval(
    gradings: Gradings,
    statistic: Callable[[Tensor], Tensor],
    baseline: Gradings | None = None,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> dict[str, Any]:
    """Mean figure of the graders, or of its difference to a baseline's, as `crossed_interval` gives it.

    Raises:
        ValueError: for a baseline that is judged on other photographs or by other graders and seeds.
    """
    counts = None
    if baseline is not None:
        same = torch.equal(gradings.target, baseline.target) and list(gradings.groups) == list(baseline.groups)
        if not same or list(gradings.strata) != list(baseline.strata):
            raise ValueError("the two conditions were not judged on the same photographs by the same graders and seeds")
        counts = baseline.counts()
    found = crossed_interval(gradings.counts(), statistic, baseline=counts, strata=gradings.strata, within=within)
    return found.as_dict()
