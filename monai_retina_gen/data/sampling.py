"""Sampling that shows every grade equally often, and the share of synthetic images that goes with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import WeightedRandomSampler

from monai_retina_gen.data.datalist_format import Item
from monai_retina_gen.data.grade_of import grade_of
from monai_retina_gen.data.grades import read_grade
from monai_retina_gen.data.problems import Problems
from monai_retina_gen.errors import DatalistError

__all__ = ["balance_probabilities", "balanced_sampler", "spread"]


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
        DatalistError: no items, or items without a label or with one that is none (see `grade_of`); names them.
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
    labels = [read_grade(item, label_key, problems) for item in items if item.get(label_key) is not None]
    problems.raise_any("Load the datalist with require_grade=True, or give the right label_key.")
    counts = Counter(labels)
    weights = [1.0 / (len(counts) * counts[label]) for label in labels]
    draws = len(items) if num_samples is None else num_samples
    return WeightedRandomSampler(weights, draws, generator=torch.Generator().manual_seed(seed))


def balance_probabilities(counts: Mapping[Any, int]) -> dict[int, float]:
    """Probability of a synthetic image per grade, `1 - n_g / max(n)`, for use with `balanced_sampler`.

    Args:
        counts: number of photographs per grade, as `count_grades` returns it. A grade without photographs gets 0:
            there is none to be replaced, so that it stays without.

    Raises:
        DatalistError: no photographs at all, or a number of them that is none.

    Examples:
        >>> balance_probabilities({0: 100, 1: 25, 2: 50, 3: 0})
        {0: 0.0, 1: 0.75, 2: 0.5, 3: 0.0}
    """
    try:
        numbers = {grade_of(grade, "grade"): grade_of(number, "number") for grade, number in counts.items()}
    except (AttributeError, ValueError) as error:
        raise DatalistError(f"counts={counts!r}: {{grade: number of photographs}} is wanted; {error}") from error
    largest = max(numbers.values(), default=0)
    if not largest:
        raise DatalistError(
            f"counts={counts!r} has no photographs: give their number per grade, as count_grades returns it."
        )
    return {grade: 1.0 - number / largest if number else 0.0 for grade, number in numbers.items()}


def spread(count: int, limit: int | None) -> list[int]:
    """`limit` rows of `count`, evenly spread; all where there are no more.

    Examples:
        >>> spread(10, 3), spread(2, 5)
        ([0, 3, 6], [0, 1])
    """
    wanted = count if limit is None else min(limit, count)
    return [i * count // wanted for i in range(wanted)]
