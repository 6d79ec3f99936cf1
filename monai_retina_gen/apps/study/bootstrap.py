"""Bootstrap of photographs and training seeds together.

`monai_retina_gen.metrics.bootstrap_interval` says how a figure varies with the photographs of the test; here graders
are drawn again as well, because another seed gives another grader. Seeds are drawn within each backbone: backbones are
chosen, not drawn. Of S seeds S - 1 are drawn, which makes the variance unbiased where S is small (Rao and Wu 1988,
J. Am. Stat. Assoc. 83:231-241); of one seed nothing can be known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.metrics import grade_confusion_matrix

__all__ = ["POWER_FACTOR", "Gradings", "difference_interval", "figure_interval", "holm"]

Statistic = Callable[[Tensor], Tensor]
CHUNK = 128
POWER_FACTOR = 2.8  # z(0.975) + z(0.80): a difference of 2.8 standard errors is found with 80 % power at 5 %


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


def figure_interval(gradings: Gradings, statistic: Statistic, *, resamples: int, seed: int = 0) -> dict[str, Any]:
    """Mean figure of the graders with its 95 % percentile interval.

    Args:
        gradings: of one condition.
        statistic: of `(..., k, k)` confusion matrices.
        resamples: number of resamples.
        seed: of the resamples.

    Returns:
        `value`, `low`, `high`, `standard_error`: floats or lists, None where the figure has no value.
    """
    counts = gradings.counts()
    draws = [_mean_figure(statistic, _confusions(counts, g), u) for g, u in _draws(counts, gradings, resamples, seed)]
    return _summary(statistic(counts.sum(1)).nanmean(0), torch.cat(draws))


def difference_interval(
    a: Gradings, b: Gradings, statistic: Statistic, *, resamples: int, seed: int = 0
) -> dict[str, Any]:
    """As `figure_interval`, of the difference a - b on the same photographs and seeds, drawn together.

    Returns:
        Also `p` (two-sided, by the share of resamples on the other side of zero) and `detectable`, the smallest
        difference that would have been found with 80 % power at 5 %.
    """
    if not torch.equal(a.target, b.target) or list(a.strata) != list(b.strata):
        raise ValueError("the two conditions were not judged on the same photographs by the same graders and seeds")
    counts_a, counts_b = a.counts(), b.counts()
    draws = [
        _mean_figure(statistic, _confusions(counts_a, g), u) - _mean_figure(statistic, _confusions(counts_b, g), u)
        for g, u in _draws(counts_a, a, resamples, seed)
    ]
    values = torch.cat(draws)
    value = statistic(counts_a.sum(1)).nanmean(0) - statistic(counts_b.sum(1)).nanmean(0)
    below, above = (((values * side >= 0).sum(0) + 1) / ((~values.isnan()).sum(0) + 1) for side in (-1, 1))
    p = (2 * torch.minimum(below, above)).clamp(max=1.0)
    summary = _summary(value, values)
    return {**summary, "p": _plain(p), "detectable": _plain(POWER_FACTOR * values_error(values))}


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979, Scand. J. Statist. 6:65-70).

    Examples:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def values_error(values: Tensor) -> Tensor:
    """Standard deviation over resamples, `(R, ...)`, of those that have a value."""
    defined = (~values.isnan()).sum(0)
    return ((values - values.nanmean(0)).square().nansum(0) / (defined - 1)).sqrt()


def _draws(counts: Tensor, gradings: Gradings, resamples: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """How often each group `(r, G)` and each grader `(r, U)` is drawn."""
    generator = torch.Generator().manual_seed(seed)
    strata = [
        torch.tensor([row for row, name in enumerate(gradings.strata) if name == stratum])
        for stratum in dict.fromkeys(gradings.strata)
    ]
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        number = counts.shape[1]
        groups = _times(torch.arange(number), number, size, generator, draws=number)
        graders = [_times(rows, len(counts), size, generator, draws=max(1, len(rows) - 1)) for rows in strata]
        yield groups, torch.stack(graders).sum(0)


def _times(rows: Tensor, length: int, size: int, generator: torch.Generator, *, draws: int) -> Tensor:
    drawn = rows[torch.randint(len(rows), (size, draws), generator=generator)]
    return torch.zeros(size, length, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double())


def _confusions(counts: Tensor, groups: Tensor) -> Tensor:
    return torch.einsum("rg,ugij->ruij", groups, counts)


def _mean_figure(statistic: Statistic, confusions: Tensor, times: Tensor) -> Tensor:
    """Mean over the drawn graders, `(r, ...)`; graders whose figure has no value do not count."""
    figures = statistic(confusions)
    weights = times.reshape(*times.shape, *[1] * (figures.ndim - 2)) * ~figures.isnan()
    return (weights * figures.nan_to_num()).sum(1) / weights.sum(1)


def _summary(value: Tensor, values: Tensor) -> dict[str, Any]:
    low, high = (values.nanquantile(q, dim=0) for q in (0.025, 0.975))
    error = values_error(values)
    return {"value": _plain(value), "low": _plain(low), "high": _plain(high), "standard_error": _plain(error)}


def _plain(values: Tensor) -> Any:
    if values.ndim:
        return [_plain(value) for value in values]
    return None if values.isnan() else float(values)
