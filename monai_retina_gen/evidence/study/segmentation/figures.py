"""PR-AUC of the arms with intervals over photographs and training seeds (`metrics.crossed_interval`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.metrics import average_precision, holm
from monai_retina_gen.metrics.crossed_effects import crossed_interval

MEAN = "mean"
EACH = "each photograph"
BASELINE = "classic"


def analyse_curves(
    curves: Mapping[str, np.ndarray], groups: Sequence[str], structures: Sequence[str], *, baseline: str = BASELINE
) -> dict[str, Any]:
    """Figures of every arm, and their differences to the baseline.

    Args:
        curves: by arm `(seeds, N, structures, 2, bins)` counts of `judge_segmenter`.
        groups: photograph or patient of the N photographs, drawn together.
        structures: names of the structures.
        baseline: the arm that the others are compared with.

    Returns:
        `arms`: by arm and structure what `CrossedInterval` holds, also of the `mean` over structures and of `each
        photograph`: the mean over photographs of the mean area over the structures that one shows. `differences` to
        the baseline likewise, with `p_holm` over all arms and structures (the two means are not corrected).
    """
    counts = {arm: _summed(found, groups) for arm, found in curves.items()}
    reference = counts.get(baseline)
    compared = [arm for arm in counts if arm != baseline and reference is not None]
    arms = {arm: _cells(found, None, structures) for arm, found in counts.items()}
    differences = {arm: _cells(counts[arm], reference, structures) for arm in compared}
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
    cells = {
        structure: {name: found[name][column] for name in found if name not in shared} | shared
        for column, structure in enumerate([*structures, MEAN])
    }
    others = None if baseline is None else _by_photograph(baseline)
    each = crossed_interval(
        _by_photograph(counts), lambda sums: sums[..., 0] / sums[..., 1], baseline=others, within=within
    )
    return {**cells, EACH: each.as_dict()}


def _by_photograph(counts: Tensor) -> Tensor:
    """Mean area over the structures that a photograph shows, and 1; zeros where it shows none: `(seeds, groups, 2)`."""
    areas = torch.stack([average_precision(one) for one in counts]).nanmean(-1)
    return torch.stack([areas.nan_to_num(), (~areas.isnan()).double()], -1)


def _areas_and_mean(counts: Tensor) -> Tensor:
    areas = average_precision(counts)
    return torch.cat([areas, areas.nanmean(-1, keepdim=True)], -1)
