"""What generative augmentation draws for an item: whether, in which mode, from which seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monai_retina_gen.data import balance_probabilities
from monai_retina_gen.generators import MODES

__all__ = ["AugmentationPlan", "AugmentationPolicy", "grade_of"]


@dataclass(frozen=True)
class AugmentationPlan:
    """One drawn augmentation.

    Args:
        mode: generator mode.
        grade: grade of the item, kept.
        seed: seed of the latent.
        lesion: lesion to edit, `""` in the other modes.
        strength: edit strength in [-1, 1], a share of the direction's calibrated range.
    """

    mode: str
    grade: int
    seed: int
    lesion: str = ""
    strength: float = 0.0

    def retry(self, attempt: int) -> AugmentationPlan:
        """The same plan with the seed (and a weaker edit) of the given attempt; attempt 0 is the plan itself."""
        if attempt == 0:
            return self
        seed = int(np.random.SeedSequence([self.seed, attempt]).generate_state(1)[0])
        return AugmentationPlan(self.mode, self.grade, seed, self.lesion, self.strength * 0.5**attempt)


class AugmentationPolicy:
    """Distribution of augmentations per grade.

    Args:
        prob: probability of replacing an image: a number, a number per grade (grades left out get 0), or `"balance"`,
            `1 - n_g / max(n)` for a grade with `n_g` photographs.
        counts: photographs per grade; wanted by `"balance"` (`count_grades(items)`).
        mode: a generator mode, or modes with weights.
        lesion: lesion(s) that an edit picks from.
        strength: range of edit strengths inside [-1, 1].

    Raises:
        ValueError: for a probability outside [0, 1], an unknown mode, or a range outside [-1, 1].

    Examples:
        >>> policy = AugmentationPolicy(prob="balance", counts={0: 100, 4: 25}, mode="sample")
        >>> policy.probability(0), policy.probability(4)
        (0.0, 0.75)
        >>> policy.draw(np.random.RandomState(0), grade=0) is None
        True
    """

    def __init__(
        self,
        *,
        prob: float | Mapping[Any, float] | str = 0.5,
        counts: Mapping[Any, int] | None = None,
        mode: str | Mapping[str, float] = "sample",
        lesion: str | Sequence[str] = (),
        strength: Sequence[float] = (-1.0, 1.0),
    ) -> None:
        self._prob = _probabilities(prob, counts)
        weights = {mode: 1.0} if isinstance(mode, str) else dict(mode)
        unknown = sorted(set(weights) - set(MODES))
        if unknown or not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
            raise ValueError(f"mode {mode!r}: want modes of {', '.join(MODES)} with weights that are not negative")
        self.modes = tuple(m for m, w in weights.items() if w > 0)
        self._cumulative = np.cumsum([weights[m] for m in self.modes]) / sum(weights.values())
        self.lesions = (lesion,) if isinstance(lesion, str) else tuple(lesion)
        self.strength = (float(strength[0]), float(strength[1]))
        if not -1 <= self.strength[0] <= self.strength[1] <= 1:
            raise ValueError(f"strength {strength} must be an ordered range inside [-1, 1]")
        if "edit" in self.modes and not self.lesions:
            raise ValueError('mode "edit" needs `lesion`: one or several of "ma", "he", "ex", "se"')

    def probability(self, grade: int) -> float:
        """Probability of augmenting an item of `grade`."""
        return self._prob if isinstance(self._prob, float) else self._prob.get(grade, 0.0)

    def draw(self, random: np.random.RandomState, grade: int) -> AugmentationPlan | None:
        """Draw a plan; `None` leaves the item as it is. Takes the same number of draws either way."""
        apply = random.random_sample() < self.probability(grade)
        seed = int(random.randint(0, 2**32, dtype=np.uint64))
        mode = self.modes[int(np.searchsorted(self._cumulative, random.random_sample(), side="right"))]
        which, share = random.random_sample(2)
        if not apply:
            return None
        if mode != "edit":
            return AugmentationPlan(mode, grade, seed)
        low, high = self.strength
        return AugmentationPlan(
            mode, grade, seed, self.lesions[int(which * len(self.lesions))], low + share * (high - low)
        )


def _probabilities(prob: Any, counts: Mapping[Any, int] | None) -> float | dict[int, float]:
    if isinstance(prob, str):
        if prob != "balance":
            raise ValueError(f'prob {prob!r}: want a number, a number per grade, or "balance"')
        if counts is None:
            raise ValueError('prob="balance" needs counts={grade: photographs}, e.g. counts=count_grades(items)')
        return balance_probabilities({int(g): int(n) for g, n in counts.items()})
    values = {int(g): float(p) for g, p in prob.items()} if isinstance(prob, Mapping) else float(prob)
    for p in values.values() if isinstance(values, dict) else [values]:
        if not 0 <= p <= 1:
            raise ValueError(f"prob {prob!r}: every probability must be in [0, 1]")
    return values


def grade_of(value: Any, name: str = "grade") -> int:
    """A grade as `int`, from an `int`, a NumPy number or a one-element tensor.

    Raises:
        ValueError: if it is not a whole number from 0 on.

    Examples:
        >>> grade_of(np.float32(2))
        2
    """
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be one whole number, got {value!r}") from None
    if not number.is_integer() or number < 0:
        raise ValueError(f"{name} must be a whole number from 0 on, got {value!r}; leave ungraded items out")
    return int(number)
