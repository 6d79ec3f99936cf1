"""From a difference and its p-value to a word; corrections for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence

FEWEST_SEEDS = 5
"""Trainings of each kind that a verdict needs."""

LEVEL = 0.05
NO_CONCLUSION = "no conclusion"
TOO_FEW_SEEDS = "no verdict, too few seeds"


def verdict(difference: float | None, p: float | None, seeds: int) -> str:
    """What a study says of a difference: `helps`, `harms`, `no conclusion`, or that it has too few seeds to say.

    Args:
        difference: above zero is better; None where undefined.
        p: two-sided, corrected for the other comparisons; None where undefined.
        seeds: trainings of each kind behind it, see `CrossedInterval`.

    Examples:
        >>> verdict(0.2, 0.01, seeds=5), verdict(0.2, 0.3, seeds=5), verdict(0.2, 0.01, seeds=3)
        ('helps', 'no conclusion', 'no verdict, too few seeds')
    """
    if seeds < FEWEST_SEEDS:
        return TOO_FEW_SEEDS
    if difference is None or p is None or p >= LEVEL:
        return NO_CONCLUSION
    return "helps" if difference > 0 else "harms"


def holm(p_values: Sequence[float | None]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979, Scand. J. Statist. 6:65-70); what has no value proves nothing: p = 1.

    Examples:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    values = [1.0 if p is None else p for p in p_values]
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted
