"""Percentile bootstrap of grading figures by photograph or patient (Efron and Tibshirani 1993, ch. 13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.metrics.base import PlainValues
from monai_retina_gen.metrics.grading import NUM_GRADES, grade_confusion_matrix

ConfusionStatistic = Callable[[Tensor], Tensor]
Groups = Sequence[Any] | Tensor
RESAMPLES_AT_A_TIME = 256


@dataclass(frozen=True, kw_only=True)
class BootstrapInterval(PlainValues):
    """A figure with its percentile interval; tensors are scalars, or (num_classes,) for figures per grade.

    Attributes:
        standard_error: standard deviation over resamples.
        level: share of resamples inside the interval.
        n: number of gradings.
        n_groups: number of photographs or patients that were resampled.
        undefined: share of resamples in which the figure has no value (a grade without a photograph, say);
            interval and error are of the others.
    """

    value: Tensor
    low: Tensor
    high: Tensor
    standard_error: Tensor
    level: float
    resamples: int
    n: int
    n_groups: int
    undefined: Tensor


def bootstrap_interval(
    preds: Tensor,
    target: Tensor,
    statistic: ConfusionStatistic,
    *,
    groups: Groups | None = None,
    num_classes: int = NUM_GRADES,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> BootstrapInterval:
    """Interval of a figure of one grader, by resampling photographs or patients.

    It says how the figure varies with the photographs of the test, not with the training of the grader: figures over
    several training seeds go to `crossed_interval`. Several given graders go in together, the photograph as group.

    Args:
        preds: predicted grades, (n,).
        target: true grades, (n,).
        statistic: figure of (..., k, k) confusion matrices, such as `kappa_from_confusion`.
        groups: (n,) photograph or patient of each grading, drawn together; None draws each by itself.
        num_classes: number of grades of the scale.
        resamples: number of resamples.
        level: share of resamples inside the interval.
        seed: of the resamples.

    Raises:
        ValueError: as `grade_confusion_matrix`; if `groups` has another length; for a level outside (0, 1).
    """
    counts = confusion_per_group(preds, target, groups, num_classes)
    values = torch.cat([statistic(c) for c in _resampled(counts, resamples, seed)])
    return _interval(statistic(counts.sum(dim=0)), values, level, len(preds), len(counts))


def confusion_per_group(preds: Tensor, target: Tensor, groups: Groups | None, num_classes: int) -> Tensor:
    """Confusion matrix of each group, (G, k, k) float64: all figures are functions of their sums."""
    grade_confusion_matrix(preds, target, num_classes)  # checks both
    index = _group_index(groups, len(target))
    cells = (index * num_classes + target.cpu().long()) * num_classes + preds.cpu().long()
    counts = torch.bincount(cells, minlength=(int(index.max()) + 1) * num_classes**2)
    return counts.double().reshape(-1, num_classes, num_classes)


def _group_index(groups: Groups | None, n: int) -> Tensor:
    if groups is None:
        return torch.arange(n)
    names = groups.tolist() if isinstance(groups, Tensor) else list(groups)
    if len(names) != n:
        raise ValueError(f"groups has {len(names)} entries for {n} gradings: pass one photograph or patient each")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names])


def _resampled(counts: Tensor, resamples: int, seed: int) -> Iterator[Tensor]:
    """Summed counts of groups drawn with replacement, up to 256 resamples at a time: (r, ...)."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, resamples, RESAMPLES_AT_A_TIME):
        size = min(RESAMPLES_AT_A_TIME, resamples - start)
        drawn = torch.randint(len(counts), (size, len(counts)), generator=generator)
        times = torch.zeros(size, len(counts), dtype=counts.dtype)
        times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=counts.dtype))
        yield (times @ counts.flatten(1)).reshape(size, *counts.shape[1:])


def _interval(value: Tensor, values: Tensor, level: float, n: int, n_groups: int) -> BootstrapInterval:
    if not 0 < level < 1:
        raise ValueError(f"level = {level}: pass a share inside (0, 1), such as 0.95")
    tail = (1 - level) / 2
    defined = ~values.isnan()
    mean = values.nanmean(dim=0)
    variance = (values - mean).square().nansum(dim=0) / (defined.sum(dim=0) - 1)
    return BootstrapInterval(
        value=value,
        low=values.nanquantile(tail, dim=0),
        high=values.nanquantile(1 - tail, dim=0),
        standard_error=variance.sqrt(),
        level=level,
        resamples=len(values),
        n=n,
        n_groups=n_groups,
        undefined=1 - defined.double().mean(dim=0),
    )
