"""The audit's rule: which of its figures justify the word "copies", at a false-alarm rate stated in advance.

A generator that holds no single training photograph treats those that it saw and those held out alike. Three questions
are asked of the ratio of distances (to the nearest training photograph over that to the nearest one held out), in each
of two spaces:

- `near`: are more images near (ratio below 0.5) than after "training" and "held out" have been dealt out anew among
  the photographs? All images that are near one photograph change sides with it, so that a generator that repeats one
  picture, or paints smooth ones, raises no alarm by that.
- `smallest`: is the smallest ratio smaller than chance makes it? In m dimensions independent points have a ratio below
  t with probability n_t t^m / (n_t t^m + n_h), since the number of points within a distance grows as its m-th power.
  m is the tail index of "second nearest over nearest" (Facco et al. 2017, arXiv:1803.06992) of the photographs held
  out, its lower 95 % limit; the ratio must also be smaller than that of any of them. One copy suffices.
- `mean`: is the mean ratio (geometric, each kept within 0.5 and 2) smaller than after dealing out anew? That is
  overfitting as a whole, not yet a copy.

A space votes where photographs held out are like those trained on. Where they differ, a network was trained on these,
or another camera took the others, and nearness is no sign of copying. Each p-value is multiplied by the number of
questions in spaces that vote, three or six (Bonferroni), so that an honest generator is called suspicious or worse in
at most 5 % of audits.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.stats import chi2
from torch import Tensor

from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.metrics.manifold import ratio_of_distances

from .copying import NEAR, Space

LEVEL = 0.05
QUESTIONS = 3  # asked in each space that may vote
ALIKE = 0.05
"""A space where photographs held out are less like those trained on than this p-value may not vote. That is settled
before a generated image is looked at, so that the others share the level."""
PERMUTATIONS = 1999
AT_A_TIME = 2**20
ROUNDING = 1e-12


def ratio_tests(space: Space, labels: Tensor, *, questions: int = QUESTIONS) -> dict[str, Any]:
    """Corrected p-values and figures of the questions `near`, `smallest` and `mean` in one space.

    `labels` are those of `dealt_anew`, `questions` those of all spaces that vote. `detectable` is the number of images
    near different training photographs that `near` would have noticed, None where no number would.
    """
    near, mean = _dealt_figures(torch.cat([space.to_train, space.to_holdout], dim=1), labels)
    return {
        "questions": questions,
        # the first row, as observed, counts too
        "near": {
            "p_value": _corrected((near >= near[0]).double().mean(), questions),
            "expected": float(near[1:].mean()),
        },
        "smallest": _smallest(space, questions),
        "mean": {
            "p_value": _corrected((mean <= mean[0] + ROUNDING).double().mean(), questions),
            "ratio": float(mean[0].exp()),
            "expected": float(mean[1:].mean().exp()),
        },
        "detectable": _detectable(near, labels, space.to_train.shape, questions),
    }


def dealt_anew(train: ImageSet, holdout: ImageSet, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Tensor:
    """Which photographs count as training: as observed in the first row, dealt out anew in the others.

    Booleans `(1 + permutations, n_train + n_holdout)`. Patients (photographs where they are unknown) change sides as a
    whole, and with others of the same grade only: a hold-out with another share of severe eyes is no sign of copying.
    """
    groups = [*train.groups, *holdout.groups]
    first = {group: row for row, group in reversed(list(enumerate(groups)))}
    names = list(first)
    grade = torch.tensor([[*train.grades, *holdout.grades][first[name]] for name in names])
    dealt = torch.tensor([first[name] < len(train) for name in names]).repeat(1 + permutations, 1)
    generator = torch.Generator().manual_seed(seed)
    for value in grade.unique():
        columns = (grade == value).nonzero().flatten()
        order = torch.rand(permutations, len(columns), generator=generator).argsort(dim=1)
        dealt[1:, columns] = dealt[0, columns][order]
    number = {name: i for i, name in enumerate(names)}
    return dealt[:, [number[group] for group in groups]]


def tail_index(space: Space) -> float:
    """Lower 95 % limit of m of the module's docstring; 0 where it cannot be had, so that no ratio counts as small."""
    pooled = torch.cat([space.holdout_to_train, space.within_holdout], dim=1)
    first, second = pooled.topk(2, dim=1, largest=False).values.unbind(dim=1)
    usable = (first > 0) & second.isfinite()  # the same picture twice says nothing of chance
    logs = (second[usable] / first[usable]).log()
    total, n = float(logs.sum()), len(logs)
    return n / total * float(chi2.ppf(0.05, 2 * n)) / (2 * n) if total > 0 else 0.0


def _dealt_figures(pooled: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Number of near images and mean logarithm of the ratio, for each row of labels."""
    near, mean = [], []
    for training in labels.split(max(1, AT_A_TIME // pooled.numel())):
        sides = (pooled.masked_fill(hidden[:, None], math.inf) for hidden in (~training, training))
        ratios = ratio_of_distances(*(side.amin(-1) for side in sides))
        near.append((ratios < NEAR).sum(dim=1))
        mean.append(ratios.clamp(NEAR, 1 / NEAR).log().mean(dim=1))
    return torch.cat(near).double(), torch.cat(mean)


def _corrected(p_value: Tensor | float, questions: int) -> float:
    return min(1.0, questions * float(p_value))


def _smallest(space: Space, questions: int) -> dict[str, Any]:
    index = tail_index(space)
    count, n_train = space.to_train.shape
    weight = n_train / space.to_holdout.shape[1]
    ratio, held_out = float(space.ratios.min()), float(space.holdout_ratios.min())
    chance = weight * ratio**index / (weight * ratio**index + 1)
    allowed = LEVEL / questions / count
    # where a photograph held out is as near, the chance is larger than the formula has it, or the sets overlap
    threshold = min(NEAR, held_out, (allowed / (1 - allowed) / weight) ** (1 / index) if index else 0.0)
    p_value = _corrected(count * chance, questions) if ratio < min(NEAR, held_out) else 1.0
    return {"p_value": p_value, "ratio": ratio, "holdout_ratio": held_out, "threshold": threshold, "tail_index": index}


def _detectable(near: Tensor, labels: Tensor, shape: torch.Size, questions: int) -> int | None:
    """Fewest images, each near another training photograph, beside as many near ones as chance makes."""
    count, n_train = shape
    usual = near[1:].median()
    order = torch.randperm(n_train, generator=torch.Generator().manual_seed(0))[:count]
    added = labels[1:, order].double().cumsum(dim=1)
    planted = torch.arange(1, added.shape[1] + 1)
    reached = (near[1:, None] + added >= usual + planted).double().sum(dim=0)
    found = questions * (1 + reached) / len(labels) <= LEVEL
    return int(planted[found][0]) if bool(found.any()) else None
