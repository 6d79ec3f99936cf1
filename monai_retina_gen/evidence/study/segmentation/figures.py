"""PR-AUC of the arms with intervals over photographs and training seeds (`metrics.crossed_interval`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.metrics import average_precision, crossed_interval, holm

__all__ = ["analyse_curves"]

MEAN = "mean"
BASELINE = "classic"


def analyse_curves(
    curves: Mapping[str, np.ndarray], groups: Sequence[str], structures: Sequence[str]
) -> dict[str, Any]:
    """Figures of every arm, and their differences to the baseline.

    Args:
        curves: by arm `(seeds, N, structures, 2, bins)` counts of `judge_segmenter`.
        groups: photograph or patient of the N photographs, drawn together.
        structures: names of the structures.

    Returns:
        `arms`: by arm and structure (and their mean) what `CrossedInterval` holds; `differences` to `classic`
        likewise, with `p_holm` over all arms and structures (the mean is not corrected).
    """
    counts = {arm: _summed(found, groups) for arm, found in curves.items()}
    baseline = counts.get(BASELINE)
    compared = [arm for arm in counts if arm != BASELINE and baseline is not None]
    arms = {arm: _cells(found, None, structures) for arm, found in counts.items()}
    differences = {arm: _cells(counts[arm], baseline, structures) for arm in compared}
    cells = [differences[arm][name] for arm in differences for name in structures]
    for cell, p in zip(cells, holm([cell["p"] for cell in cells]), strict=True):
        cell["p_holm"] = p
    return {"arms": arms, "differences": differences}


def _summed(counts: np.ndarray, groups: Sequence[str]) -> Tensor:
    """(seeds, groups, structures, 2, bins): photographs of one group together."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    index = torch.tensor([numbers[name] for name in groups])
    tensor = torch.from_numpy(counts).float()
    return tensor.new_zeros(tensor.shape[0], len(numbers), *tensor.shape[2:]).index_add_(1, index, tensor)


def _cells(counts: Tensor, baseline: Tensor | None, structures: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By structure, and of their mean: a figure with its interval."""
    within = (0.0, 1.0) if baseline is None else (-1.0, 1.0)
    found = crossed_interval(counts, _areas_and_mean, baseline=baseline, within=within).as_dict()
    shared = {name: value for name, value in found.items() if not isinstance(value, list)}
    return {
        structure: {name: found[name][column] for name in found if name not in shared} | shared
        for column, structure in enumerate([*structures, MEAN])
    }


def _areas_and_mean(counts: Tensor) -> Tensor:
    areas = average_precision(counts)
    return torch.cat([areas, areas.nanmean(-1, keepdim=True)], -1)
