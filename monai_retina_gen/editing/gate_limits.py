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

EDIT_TESTS = ("probability_drop", "grade_shift", "vessel_loss", "outside_change")
"""Statistics of an edit, in this order; the larger, the less of the photograph is left."""

BY_SIDE = ("distances", "excesses")


@dataclass(frozen=True)
class GateLimits:
    """What an image may look like and still pass.

    Args:
        false_rejection: share of photographs with their true label that the limits were set to refuse.
        distances: by side of the images in pixels, how far the graders' expected grade may be from each label.
        excesses: alike, how probable grades beyond the label, on either side, may be (see `grade_excess`).
        probability_drop: most by which an edit may lower the probability of the label.
        grade_shift: most by which an edit may move the expected grade away from the label.
        vessel_loss: most of 1 - Dice between the vessels before and after.
        outside_change: largest mean absolute change, in [0, 1], outside the neighbourhood of lesions.

    Examples:
        >>> distances, excesses = {64: [1.5] * 5, 128: [1.0] * 5}, {64: [1.0] * 5, 128: [0.9] * 5}
        >>> limits = GateLimits(0.1, distances, excesses, 0.3, 0.5, 0.2, 0.01)
        >>> limits.of_label(100, 3), limits.of_label(512, 3), limits.of_label(16, 3)
        ((1.5, 1.0), (1.0, 0.9), (1.5, 1.0))
    """

    false_rejection: float
    distances: Mapping[int, Sequence[float]]
    excesses: Mapping[int, Sequence[float]]
    probability_drop: float
    grade_shift: float
    vessel_loss: float
    outside_change: float

    def __post_init__(self) -> None:
        sides = sorted(self.distances), sorted(self.excesses)
        if not 0 < self.false_rejection < 1 or not sides[0] or sides[0] != sides[1]:
            raise ValueError(
                f"false_rejection={self.false_rejection}, distances for the sides {sides[0]}, excesses for {sides[1]}: "
                "want a rate between 0 and 1, and both for the same sides, at least one"
            )

    def of_label(self, side: int, grade: int) -> tuple[float, float]:
        """Largest distance and excess for images of `side` pixels: those of the next smaller side that has limits."""
        nearest = max([s for s in self.distances if s <= side] or [min(self.distances)])
        distances, excesses = self.distances[nearest], self.excesses[nearest]
        if not 0 <= grade < len(distances):
            raise ValueError(f"grade {grade}: the gate has limits for the grades 0 to {len(distances) - 1}")
        return distances[grade], excesses[grade]

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        by_side = {name: {str(side): list(x) for side, x in getattr(self, name).items()} for name in BY_SIDE}
        return asdict(self) | by_side

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GateLimits:
        """From what `as_dict` gave."""
        if "floors" in values:
            raise ValueError(
                "these limits are of an earlier version, whose gate judged by the probability of the label alone: make "
                "them anew with `monai-retina-gen model gate`"
            )
        try:
            distances, excesses = (
                {int(side): [float(x) for x in row] for side, row in values[name].items()} for name in BY_SIDE
            )
            rate, *edit = (float(values[name]) for name in ("false_rejection", *EDIT_TESTS))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"these are no limits of a gate: {error!r}") from None
        return cls(rate, distances, excesses, *edit)


def label_limits(statistics: Tensor, rate: float) -> list[float]:
    """Limits beyond which a new row, exchangeable with these, lies in any statistic with a probability of about `rate`.

    Of `(n, k)` statistics, larger is worse, `floor(rate * (n + 1)) - 1` rows exceed the `k` limits, as the order
    statistic of a single one would have it; infinity where the rows are too few to refuse anything at that rate.

    Examples:
        >>> import torch
        >>> label_limits(torch.arange(9.0)[:, None], 0.2), label_limits(torch.arange(3.0)[:, None], 0.2)
        ([7.0], [inf])
    """
    refused = int(rate * (len(statistics) + 1) + 1e-9) - 1
    if refused < 0:
        return [float("inf")] * statistics.shape[1]
    return [float(x) for x in joint_limits(statistics, refused / len(statistics))]


def joint_limits(statistics: Tensor, rate: float) -> Tensor:
    """Limits `(k,)` of `(n, k)` statistics, larger is worse, that together refuse at most `rate` of the rows.

    The lowest common rank in each column at which no more are refused: chosen on the rows themselves, the rate holds
    for them, and about for others. `ValueError` without a row, or with values that are not finite.

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
