"""Sampling that shows every grade equally often, and the share of synthetic images that goes with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch.utils.data import WeightedRandomSampler

from monai_retina_gen.data.datalist_format import Item
from monai_retina_gen.data.problems import Problems
from monai_retina_gen.errors import DatalistError

__all__ = ["balance_probabilities", "balanced_sampler"]


def balanced_sampler(
    items: Sequence[Item], *, label_key: str = "grade", num_samples: int | None = None, seed: int = 0
) -> WeightedRandomSampler:
    """Make a sampler that draws each grade present equally often in expectation, with replacement.

    An item of grade g is drawn with probability `1 / (G * n_g)`, where n_g is the number of its grade and G
    the number of grades present. Together with `balance_probabilities` the expected number of real showings
    is the same for every photograph. Advance of the generator makes epochs differ; the seed makes runs
    repeat.

    Args:
        items: the items of the data set that is sampled, in its order.
        label_key: key of the grade.
        num_samples: draws per epoch; the number of items by default.
        seed: seed of the sampler's own generator.

    Raises:
        DatalistError: no items, or items without the label (named).
        ValueError: `num_samples` is not a positive integer (by torch).

    Examples:
        >>> items = [{"grade": 0}, {"grade": 0}, {"grade": 0}, {"grade": 4}]
        >>> [round(float(w), 3) for w in balanced_sampler(items).weights]
        [0.167, 0.167, 0.167, 0.5]
    """
    if not items:
        raise DatalistError("items is empty: balanced_sampler needs the items of the data set that it samples.")
    problems = Problems("balanced_sampler")
    for index, item in enumerate(items):
        if item.get(label_key) is None:
            problems.add(f"no label_key {label_key!r}", item.get("image", f"item {index}"))
    problems.raise_any("Load the datalist with require_grade=True, or give the right label_key.")
    labels = [int(item[label_key]) for item in items]
    counts = Counter(labels)
    weights = [1.0 / (len(counts) * counts[label]) for label in labels]
    draws = len(items) if num_samples is None else num_samples
    return WeightedRandomSampler(weights, draws, generator=torch.Generator().manual_seed(seed))


def balance_probabilities(counts: Mapping[int, int]) -> dict[int, float]:
    """Probability of a synthetic image per grade, `1 - n_g / max(n)`, for use with `balanced_sampler`.

    Args:
        counts: number of photographs per grade, as `count_grades` returns it.

    Raises:
        DatalistError: no counts, or a grade without photographs: it cannot be drawn at all; names it.

    Examples:
        >>> balance_probabilities({0: 100, 1: 25, 2: 50})
        {0: 0.0, 1: 0.75, 2: 0.5}
    """
    if not counts:
        raise DatalistError("counts is empty: give the number of photographs per grade, as count_grades returns it.")
    absent = [grade for grade, count in counts.items() if count <= 0]
    if absent:
        raise DatalistError(
            f"Grades {absent} have no photographs in {dict(counts)}: they cannot be balanced. "
            "Add photographs, join grades by grade_map, or count fewer classes (num_classes)."
        )
    largest = max(counts.values())
    return {grade: 1.0 - count / largest for grade, count in counts.items()}
