"""Intervals of figures of several trainings on the same photographs: both are drawn, crossed with one another.

Another seed would give another grader and another patient another photograph, so that a mean over seeds varies with
both. The variance of the figures between seeds holds the trainings and their interaction with the photographs; the
jackknife over photographs gives the covariance that trainings share by being judged on the same ones. Together they
are the variance of the mean (Obuchowski and Rockette 1995, Commun. Stat. Simul. Comput. 24:285-308, for readers and
cases). A few seeds know their own variance badly: the interval is of Student's t with the degrees of freedom of
Hillis 2007 (Stat. Med. 26:596-619), where a bootstrap of three seeds finds 12 to 15 % for 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import stdtr, stdtrit
from torch import Tensor

from monai_retina_gen.metrics.base import PlainValues

POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class CrossedInterval(PlainValues):
    """A mean figure of several trainings with its interval; tensors have the shape of the figure, float64.

    Attributes:
        value: mean over the trainings (of the differences, with a baseline).
        standard_error: of the mean, for other seeds and other photographs.
        degrees_of_freedom: of Student's t; infinite where nothing varies.
        p: two-sided, of a mean of zero.
        detectable: smallest mean that would be found with 80 % power at this level.
        seeds: trainings of each kind (the smallest number over the strata).
        n_groups: photographs or patients.
    """

    value: Tensor
    low: Tensor
    high: Tensor
    standard_error: Tensor
    degrees_of_freedom: Tensor
    p: Tensor
    detectable: Tensor
    seeds: int
    n_groups: int


def crossed_interval(
    counts: Tensor,
    statistic: Callable[[Tensor], Tensor],
    *,
    baseline: Tensor | None = None,
    strata: Sequence[str] | None = None,
    level: float = 0.95,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> CrossedInterval:
    """Mean figure of trainings, or of their differences to a baseline's, with an interval over seeds and photographs.

    Of one training it is the interval over photographs alone: how trainings vary cannot be known then.

    Args:
        counts: (U, G, ...) what each of U trainings counted on each of G photographs (patients: summed). The figure of
            a set of photographs is a function of the sum.
        statistic: from summed counts (..., *cell) to figures (..., *shape); NaN where undefined.
        baseline: as `counts`, trainings with the same seeds on the same photographs; differences are `counts` minus
            `baseline`, seed by seed.
        strata: kind of each training (its backbone, say): kinds are chosen, only seeds within a kind are drawn.
        level: of the interval.
        within: range of the figure; an interval that leaves it, as it may near 0 or 1 or of two seeds, is cut.

    Raises:
        ValueError: for fewer than two photographs, other shapes, or a level outside (0, 1).

    Examples:
        >>> from monai_retina_gen.metrics import accuracy_from_confusion
        >>> right = torch.rand(5, 100, generator=torch.Generator().manual_seed(0)) < 0.75
        >>> counts = torch.stack([right, ~right, ~right, right], -1).reshape(5, 100, 2, 2).double()
        >>> found = crossed_interval(counts, accuracy_from_confusion)
        >>> round(float(found.low), 2), round(float(found.high), 2), found.seeds
        (0.7, 0.81, 5)
    """
    _check(counts, baseline, strata, level)
    figures, left_out = _figures(counts, statistic)
    if baseline is not None:
        others, others_left_out = _figures(baseline, statistic)
        figures, left_out = figures - others, left_out - others_left_out
    kinds = [torch.tensor([u for u, s in enumerate(strata or [""] * len(counts)) if s == kind])
             for kind in dict.fromkeys(strata or [""])]  # fmt: skip
    variance, freedom = _variance(figures, left_out, kinds)
    seeds = min(map(len, kinds))
    return _interval(figures.mean(0), variance.sqrt(), freedom, level, within, seeds, counts.shape[1])


def _check(counts: Tensor, baseline: Tensor | None, strata: Sequence[str] | None, level: float) -> None:
    if counts.ndim < 3 or counts.shape[1] < 2:
        raise ValueError(f"counts has shape {tuple(counts.shape)}: pass (U, G, ...) of at least two photographs")
    if baseline is not None and baseline.shape != counts.shape:
        raise ValueError(
            f"baseline has shape {tuple(baseline.shape)}, counts {tuple(counts.shape)}: pass equal seeds and groups"
        )
    if strata is not None and len(strata) != len(counts):
        raise ValueError(f"strata has {len(strata)} entries for {len(counts)} trainings: pass one of each")
    if not 0 < level < 1:
        raise ValueError(f"level = {level}: pass a share inside (0, 1), such as 0.95")


def _figures(counts: Tensor, statistic: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Figures of all photographs (U, ...), and of all but one (U, G, ...); a training at a time, to bound memory."""
    found = [(statistic(c.sum(0)).double(), statistic(c.sum(0) - c).double()) for c in counts.double()]
    return torch.stack([whole for whole, _ in found]), torch.stack([part for _, part in found])


def _variance(figures: Tensor, left_out: Tensor, kinds: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Variance of the mean over trainings, and its degrees of freedom (Satterthwaite's sum of the two sources)."""
    total, number = left_out.shape[:2]
    centred = left_out - left_out.mean(1, keepdim=True)
    covariance = torch.einsum("ug...,vg...->uv...", centred, centred) * (number - 1) / number
    photographs = covariance.sum((0, 1))
    seeds, squares = torch.zeros_like(photographs), torch.zeros_like(photographs)
    for rows in kinds:
        if len(rows) > 1:
            between = len(rows) * figures[rows].var(0)
            own = covariance[rows, rows].sum(0)
            shared = (covariance[rows][:, rows].sum((0, 1)) - own) / (len(rows) - 1)
            interaction = own - shared  # of trainings with photographs; expected in `between` as well
            photographs = photographs - interaction
            # Seeds that agree by chance do not make photographs certain: no less than what the jackknife finds.
            freedom = torch.where(between > interaction, len(rows) - 1.0, number - 1.0)
            between = between.maximum(interaction)
            seeds, squares = seeds + between, squares + between.square() / freedom
    photographs = photographs.clamp(min=0)
    freedom = (seeds + photographs).square() / (squares + photographs.square() / (number - 1))
    return (seeds + photographs) / total**2, freedom.where(seeds + photographs != 0, torch.inf)


def _interval(
    value: Tensor, error: Tensor, freedom: Tensor, level: float, within: tuple[float, float], seeds: int, n_groups: int
) -> CrossedInterval:
    df = freedom.numpy()
    tail, power = (torch.from_numpy(np.asarray(stdtrit(df, q))) for q in ((1 + level) / 2, POWER))
    t = torch.where(value == 0, 0.0, value.abs() / error)
    p = torch.from_numpy(np.asarray(2 * stdtr(df, -t.numpy())))
    return CrossedInterval(
        value=value,
        low=(value - tail * error).clamp(*within),
        high=(value + tail * error).clamp(*within),
        standard_error=error,
        degrees_of_freedom=freedom,
        p=p,
        detectable=(tail + power) * error,
        seeds=seeds,
        n_groups=n_groups,
    )


FEWEST_SEEDS = 5
"""Trainings of each kind that a verdict needs."""

LEVEL = 0.05
NO_CONCLUSION = "no conclusion"
TOO_FEW_SEEDS = "no verdict, too few seeds"


def verdict(difference: float | None, p: float | None, seeds: int) -> str:
    """What a study says of a difference: `helps`, `harms`, `no conclusion`, or that it has too few seeds to say.

    Above zero is better; `p` is two-sided, corrected for the other comparisons; None where undefined.
    """
    if seeds < FEWEST_SEEDS:
        return TOO_FEW_SEEDS
    if difference is None or p is None or p >= LEVEL:
        return NO_CONCLUSION
    return "helps" if difference > 0 else "harms"


def holm(p_values: Sequence[float | None]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979, Scand. J. Statist. 6:65-70); what has no value proves nothing: p = 1."""
    values = [1.0 if p is None else p for p in p_values]
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted
