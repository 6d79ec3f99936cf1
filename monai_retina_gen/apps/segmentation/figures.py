"""PR-AUC of the arms with intervals: photographs and training seeds are drawn together (see `apps.study.bootstrap`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.apps.study.bootstrap import POWER_FACTOR, holm

__all__ = ["analyse_curves", "pr_areas"]

CHUNK = 25
MEAN = "mean"
BASELINE = "classic"


def pr_areas(counts: Tensor) -> Tensor:
    """Average precision of curve counts `(..., 2, bins)`: `(...)` float64; NaN where the structure never occurs.

    `monai_retina_gen.metrics.average_precision` for many curves at once.
    """
    alarms, hits = counts.double().flip(-1).cumsum(-1).unbind(-2)
    precision = hits / (hits + alarms).clamp(min=1)
    recall = hits / hits[..., -1:].clamp(min=1)
    steps = torch.diff(recall, prepend=recall.new_zeros(*recall.shape[:-1], 1))
    return torch.where(hits[..., -1] > 0, (steps * precision).sum(-1), torch.nan)


def analyse_curves(
    curves: Mapping[str, np.ndarray], groups: Sequence[str], structures: Sequence[str], *, resamples: int, seed: int = 0
) -> dict[str, Any]:
    """Figures of every arm, and their differences to the baseline.

    Args:
        curves: by arm `(seeds, N, structures, 2, bins)` counts of `judge_segmenter`.
        groups: photograph or patient of the N photographs, drawn together.
        structures: names of the structures.
        resamples: of the bootstrap.
        seed: of the resamples.

    Returns:
        `arms`: by arm and structure (and their mean) `value`, `low`, `high`, `standard_error`; `differences` to
        `classic` likewise with `p`, `p_holm` over all arms and structures (the mean is not corrected), and
        `detectable`, the difference that would have been found with 80 % power at 5 %.
    """
    names = [*structures, MEAN]
    drawn = {arm: _resampled(_summed(counts, groups), resamples, seed) for arm, counts in curves.items()}
    values = {
        arm: _with_mean(pr_areas(torch.from_numpy(c.astype(np.int64)).sum(1)).mean(0)) for arm, c in curves.items()
    }
    arms = {arm: dict(zip(names, _summaries(values[arm], drawn[arm]), strict=True)) for arm in curves}
    differences: dict[str, dict[str, Any]] = {}
    for arm in curves:
        if arm != BASELINE and BASELINE in curves:
            found = _summaries(values[arm] - values[BASELINE], drawn[arm] - drawn[BASELINE], difference=True)
            differences[arm] = dict(zip(names, found, strict=True))
    cells = [differences[arm][name] for arm in differences for name in structures]
    for cell, p in zip(cells, holm([1.0 if c["p"] is None else c["p"] for c in cells]), strict=True):
        cell["p_holm"] = p
    return {"arms": arms, "differences": differences}


def _summed(counts: np.ndarray, groups: Sequence[str]) -> Tensor:
    """(seeds, groups, structures, 2, bins): photographs of one group together."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    index = torch.tensor([numbers[name] for name in groups])
    tensor = torch.from_numpy(counts).float()
    return tensor.new_zeros(tensor.shape[0], len(numbers), *tensor.shape[2:]).index_add_(1, index, tensor)


def _resampled(counts: Tensor, resamples: int, seed: int) -> Tensor:
    """(resamples, structures + 1): of S seeds S - 1 are drawn, which makes the variance unbiased (Rao and Wu 1988)."""
    generator = torch.Generator().manual_seed(seed)
    seeds, number = counts.shape[:2]
    found = []
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        times = _times(number, number, size, generator)
        graders = _times(seeds, max(1, seeds - 1), size, generator).double()
        areas = torch.stack([pr_areas(torch.tensordot(times, each, 1)) for each in counts], 1)
        found.append(_with_mean(torch.einsum("rs,rsk->rk", graders, areas) / graders.sum(1, keepdim=True)))
    return torch.cat(found)


def _times(number: int, draws: int, size: int, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(number, (size, draws), generator=generator)
    return torch.zeros(size, number).scatter_add_(1, drawn, torch.ones(size, draws))


def _with_mean(areas: Tensor) -> Tensor:
    return torch.cat([areas, areas.nanmean(-1, keepdim=True)], -1)


def _summaries(value: Tensor, drawn: Tensor, difference: bool = False) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for column in range(len(value)):
        sample = drawn[:, column][~drawn[:, column].isnan()]
        if value[column].isnan() or len(sample) < 2:
            found.append(dict.fromkeys(("value", "low", "high", "standard_error", "p", "detectable")))
            continue
        low, high = (float(sample.quantile(q)) for q in (0.025, 0.975))
        error = float(sample.std())
        cell: dict[str, Any] = {"value": float(value[column]), "low": low, "high": high, "standard_error": error}
        if difference:
            tail = min(float((sample <= 0).sum()), float((sample >= 0).sum()))
            cell |= {"p": min(1.0, 2 * (tail + 1) / (len(sample) + 1)), "detectable": POWER_FACTOR * error}
        found.append(cell)
    return found
