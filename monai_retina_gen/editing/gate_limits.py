"""Limits of the label gate, from statistics of photographs whose label is known to hold.

Each limit is an order statistic, as in conformal prediction (Vovk et al. 2005; Papadopoulos et al. 2002): a new
photograph that is exchangeable with the `n` that the limit was taken from passes with a stated probability, whatever
the graders are worth. How many wrong labels are refused depends on the graders alone, and is measured beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

__all__ = ["EDIT_TESTS", "GateLimits", "joint_limits", "lower_limit"]

EDIT_TESTS = ("probability_drop", "grade_shift", "vessel_loss", "outside_change")
"""Statistics of an edit, in this order; the larger, the less of the photograph is left."""


@dataclass(frozen=True)
class GateLimits:
    """What an image may look like and still pass.

    Args:
        false_rejection: share of photographs with their true label that the limits were set to refuse.
        floors: by side of the images in pixels, the least probability of the label, per grade.
        probability_drop: most by which an edit may lower the probability of the label.
        grade_shift: most by which an edit may move the expected grade away from the label.
        vessel_loss: most of 1 - Dice between the vessels before and after.
        outside_change: largest mean absolute change, in [0, 1], outside the neighbourhood of lesions.

    Raises:
        ValueError: for a rate outside (0, 1) or no floors.

    Examples:
        >>> limits = GateLimits(0.1, {64: [0.1] * 5, 128: [0.2] * 5}, 0.3, 0.5, 0.2, 0.01)
        >>> limits.floor(100, 3), limits.floor(512, 3), limits.floor(16, 3)
        (0.1, 0.2, 0.1)
        >>> GateLimits.from_dict(limits.as_dict()) == limits
        True
    """

    false_rejection: float
    floors: Mapping[int, Sequence[float]]
    probability_drop: float
    grade_shift: float
    vessel_loss: float
    outside_change: float

    def __post_init__(self) -> None:
        if not 0 < self.false_rejection < 1 or not self.floors:
            raise ValueError(
                f"false_rejection={self.false_rejection}, floors for the sides {sorted(self.floors)}: want a rate "
                "between 0 and 1, and floors for at least one side"
            )

    def floor(self, side: int, grade: int) -> float:
        """Least probability of `grade` for images of `side` pixels: that of the next smaller side with floors."""
        known = [s for s in self.floors if s <= side] or [min(self.floors)]
        floors = self.floors[max(known)]
        if not 0 <= grade < len(floors):
            raise ValueError(f"grade {grade}: the gate has limits for the grades 0 to {len(floors) - 1}")
        return floors[grade]

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {"floors": {str(side): list(values) for side, values in self.floors.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GateLimits:
        """From what `as_dict` gave."""
        try:
            floors = {int(side): [float(x) for x in floor] for side, floor in values["floors"].items()}
            rest = {name: float(values[name]) for name in ("false_rejection", *EDIT_TESTS)}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"these are no limits of a gate: {error!r}") from None
        return cls(floors=floors, **rest)


def lower_limit(scores: Tensor, rate: float) -> float:
    """Threshold below which a new score, exchangeable with `scores`, lies with a probability of at most `rate`.

    With `k = floor(rate * (n + 1))` it is the k-th smallest score; for `k = 0` the scores are too few to refuse
    anything at that rate, and it is minus infinity.

    Args:
        scores: `(n,)`.
        rate: between 0 and 1.

    Examples:
        >>> import torch
        >>> lower_limit(torch.arange(9.0), 0.2), lower_limit(torch.arange(3.0), 0.2)
        (1.0, -inf)
    """
    rank = int(rate * (len(scores) + 1) + 1e-9)
    return float(scores.sort().values[min(rank, len(scores)) - 1]) if rank else float("-inf")


def joint_limits(statistics: Tensor, rate: float) -> Tensor:
    """Upper limits of several statistics, all at one rank, that together refuse at most `rate` of the rows.

    Args:
        statistics: `(n, k)`, larger is worse, of changes that keep the label.
        rate: share of rows that may exceed any limit.

    Returns:
        `(k,)` limits: the lowest common rank in each column at which no more rows are refused. Chosen on the rows
        themselves, the rate holds for them, and about for others.

    Raises:
        ValueError: without a row, or with values that are not finite.

    Examples:
        >>> import torch
        >>> joint_limits(torch.tensor([[0.0, 3.0], [1.0, 2.0], [2.0, 1.0], [3.0, 0.0]]), 0.5)
        tensor([2., 2.])
    """
    if statistics.ndim != 2 or not len(statistics) or not bool(statistics.isfinite().all()):
        raise ValueError(f"statistics {tuple(statistics.shape)}: want finite (n, k) with n of at least 1")
    ordered, allowed = statistics.sort(0).values, int(rate * len(statistics) + 1e-9)
    for rank in range(len(ordered)):
        if int((statistics > ordered[rank]).any(1).sum()) <= allowed:
            return ordered[rank]
    return ordered[-1]
