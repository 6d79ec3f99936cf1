"""Folds for cross-fitting (see `CrossFittedGraders`), and a temperature fitted to the predictions of held-out folds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import Datalist, Item, split_by_group, unit_of
from monai_retina_gen.errors import DatalistError


def fold_of_group(
    items: Sequence[Item], folds: int = 5, *, seed: int = 0, stratify: str | None = "grade"
) -> dict[str, int]:
    """Deal groups (photographs or patients) out to folds with the grades spread evenly, whole blocks where there are.

    Items have the key `group`, and `block` where groups belong together; `seed` and `stratify` as in `split_by_group`.
    Returns the fold, from 0, by group. `DatalistError` for fewer than two folds, fewer groups or blocks than folds, or
    items without `group`.
    """
    units = {unit_of(item) for item in items}
    if not 2 <= folds <= len(units):
        raise DatalistError(f"folds={folds}: from 2 to the number of groups or blocks ({len(units)}) is wanted")
    found: dict[str, int] = {}
    rest = list(items)
    for fold in range(folds):
        share = 1 / (folds - fold)
        sections = split_by_group(rest, (1 - share, share, 0.0), seed=seed, stratify=stratify)
        found |= {str(item["group"]): fold for item in sections["validation"]}
        rest = sections["training"]
    return found


def training_folds(items: Sequence[Item], folds: Mapping[str, int]) -> Iterator[tuple[list[Item], list[Item]]]:
    """For each fold, the items that its network is trained on and those that are held out from it."""
    for fold in sorted(set(folds.values())):
        train = [item for item in items if folds[str(item["group"])] != fold]
        yield train, [item for item in items if folds[str(item["group"])] == fold]


def fold_datalist(datalist: Mapping[str, Any], fold: int, folds: int = 5, *, seed: int = 0) -> Datalist:
    """The datalist that the grader of one fold is trained with: `validation` is the fold and `training` is the rest.

    Training and validation are dealt out anew, with the same `seed` for all folds; the test section stays out of all
    folds. `DatalistError` for a fold outside the range, and as `fold_of_group`.
    """
    if not 0 <= fold < folds:
        raise DatalistError(f"fold={fold}: from 0 to {folds - 1} is wanted")
    items = [*datalist["training"], *datalist["validation"]]
    parts = list(training_folds(items, fold_of_group(items, folds, seed=seed)))
    return {**datalist, "training": parts[fold][0], "validation": parts[fold][1]}


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """Temperature T, in [0.05, 20], that minimises the cross-entropy of `softmax(logits / T)`; above 1 it was too sure.

    The cross-entropy is convex in `1 / T`: the minimum is unique and found by bisection of its derivative. Put T into
    `FundusGrader.temperature`; the accuracy does not change.

    Args:
        logits: `(n, classes)`, **out of fold**: each row from a network that never saw its photograph. On training
            photographs the temperature would come out too low.
        target: `(n,)` true classes.
    """
    if logits.ndim != 2 or target.shape != logits.shape[:1] or len(target) < 2 or not bool(logits.isfinite().all()):
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)}: want finite (n, classes) and (n,), n >= 2"
        )
    scores, target = logits.detach().double().cpu(), target.long().cpu()
    right = scores.gather(1, target[:, None]).mean()
    low, high = 1 / 20, 1 / 0.05
    for _ in range(60):
        middle = (low * high) ** 0.5
        # derivative of the mean cross-entropy with respect to 1 / T: expected minus observed score
        slope = (torch.softmax(middle * scores, 1) * scores).sum(1).mean() - right
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 1 / (low * high) ** 0.5


def expected_calibration_error(logits: Tensor, target: Tensor, temperature: float = 1.0, bins: int = 10) -> float:
    """Mean distance of confidence and accuracy over equally wide bins of confidence, weighted by their photographs."""
    confidence, predicted = torch.softmax(logits.double() / temperature, 1).max(1)
    right = (predicted == target).double()
    place = (confidence * bins).long().clamp(max=bins - 1)
    gaps = [(confidence[place == b] - right[place == b]).sum().abs() for b in range(bins)]
    return float(torch.stack(gaps).sum() / len(target))
