"""Weights of the grades in a loss, for data sets in which severe grades are rare."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["class_weights"]


def class_weights(counts: Mapping[int, int], *, power: float = 0.5) -> Tensor:
    """Weights `n_g ** -power`, scaled so that the average over photographs is 1.

    Args:
        counts: photographs by grade, in any order; a grade without photographs gets 0.
        power: 0 for equal weights, 1 for weights that make every grade count the same; 0.5 in between keeps a very
            rare grade from being learned by heart.

    Returns:
        `(grades,)` float32: weight g is that of grade g.

    Raises:
        ValueError: if the keys are not the grades 0, 1, 2..., or there is no photograph.

    Examples:
        >>> class_weights({0: 100, 1: 25})
        tensor([0.8333, 1.6667])
        >>> class_weights({1: 25, 0: 100})
        tensor([0.8333, 1.6667])
    """
    if set(counts) != set(range(len(counts))):
        raise ValueError(
            f"counts has the keys {list(counts)}: the grades from 0 on are wanted, each once, those without "
            "photographs with 0 (`count_grades` gives them)"
        )
    numbers = torch.tensor([float(counts[grade]) for grade in range(len(counts))])
    if not (numbers > 0).any():
        raise ValueError(f"counts {dict(counts)} hold no photograph")
    weights = torch.where(numbers > 0, numbers.clamp(min=1) ** -power, 0.0)
    return weights * numbers.sum() / (weights * numbers).sum()
