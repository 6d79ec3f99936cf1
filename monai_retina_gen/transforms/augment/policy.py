"""What generative augmentation draws for an item: whether, in which mode, from which seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monai_retina_gen.arguments import check_real
from monai_retina_gen.data import ICDR_GRADE, LabelGrades, balance_probabilities, check_labels_are_grades, grade_of
from monai_retina_gen.generators import MODES

DEFAULT_STRENGTH = (0.3, 1.0)
"""Weaker edits hardly show; below 0 they take away what a photograph does not have (see the lesion editor's page)."""
_KEEPS_THE_EYE = ("edit", "reconstruct")


@dataclass(frozen=True)
class AugmentationPlan:
    """One drawn augmentation.

    `grade` is that of the generated image: the item's own, or one of its label's; `lesion` is `""` but for edits, and
    where the generator chooses; `strength` is in [-1, 1], a share of what the generator can do.
    """

    mode: str
    grade: int
    seed: int
    lesion: str = ""
    strength: float = 0.0

    def retry(self, attempt: int) -> AugmentationPlan:
        """The same plan with the seed of the given attempt; attempt 0 is the plan itself."""
        if attempt == 0:
            return self
        return replace(self, seed=int(np.random.SeedSequence([self.seed, attempt]).generate_state(1)[0]))


class AugmentationPolicy:
    """Distribution of augmentations per label; labels are grades, unless `label_grades` says otherwise.

    The arguments are those of `GenerativeAugment`; `"balance"` wants `counts` (`count_grades(items)`).

    Examples:
        >>> policy = AugmentationPolicy(prob="balance", counts={0: 100, 4: 25}, mode="sample")
        >>> policy.probability(0), policy.probability(4)
        (0.0, 0.75)
    """

    def __init__(
        self,
        *,
        prob: float | Mapping[Any, float] | str = 0.5,
        counts: Mapping[Any, int] | None = None,
        mode: str | Mapping[str, float] = "sample",
        lesion: str | Sequence[str] = (),
        strength: Sequence[float] = DEFAULT_STRENGTH,
        label_grades: Mapping[Any, Any] | None = None,
    ) -> None:
        self.label_grades = None if label_grades is None else LabelGrades(label_grades)
        if counts is not None and not isinstance(counts, Mapping):
            raise ValueError(
                f"counts: {counts!r} came, want photographs per grade, as count_grades(items) returns them"
            )
        self._counted = [grade_of(g, "counts") for g, n in (counts or {}).items() if n]
        self._prob = _probabilities(prob, counts)
        labels = range(5) if self.label_grades is None else self.label_grades.labels
        if isinstance(prob, Mapping) and (not prob or not {grade_of(g, "prob") for g in prob} <= set(labels)):
            raise ValueError(
                f"prob={dict(prob)!r}: want a probability for one or several of {', '.join(map(str, labels))}"
            )
        weights = {mode: 1.0} if isinstance(mode, str) else dict(mode) if isinstance(mode, Mapping) else {}
        weights = {each: check_real("mode", weight) for each, weight in weights.items()}
        if not set(weights) <= set(MODES) or not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
            raise ValueError(f"mode {mode!r}: want modes of {', '.join(MODES)} with weights that are not negative")
        self.modes = tuple(m for m, w in weights.items() if w > 0)
        self._cumulative = np.cumsum([weights[m] for m in self.modes]) / sum(weights.values())
        self.lesions = _lesions(lesion)
        self.strength = _range(strength)
        if not -1 <= self.strength[0] <= self.strength[1] <= 1:
            raise ValueError(f"strength {strength} must be an ordered range inside [-1, 1]")

    def probability(self, label: int) -> float:
        """Probability of augmenting an item of `label`."""
        return self._prob if isinstance(self._prob, float) else self._prob.get(label, 0.0)

    def draw(self, random: np.random.RandomState, label: int, grade: int | None = None) -> AugmentationPlan | None:
        """Draw a plan; `None` leaves the item as it is. Takes the same number of draws either way.

        `grade` is the item's own, where it says it besides its label (`ICDR_GRADE`); the generated image keeps it.
        `ValueError` where the grade of the image cannot be told from the label.
        """
        apply = random.random_sample() < self.probability(label)
        seed = int(random.randint(0, 2**32, dtype=np.uint64))
        mode = self.modes[int(np.searchsorted(self._cumulative, random.random_sample(), side="right"))]
        which, share = random.random_sample(2)
        if not apply:
            return None
        kept = self._grade(label, grade, mode, which)
        if mode != "edit":
            return AugmentationPlan(mode, kept, seed)
        low, high = self.strength
        lesion = self.lesions[int(which * len(self.lesions))]
        return AugmentationPlan(mode, kept, seed, lesion, low + share * (high - low))

    def _grade(self, label: int, grade: int | None, mode: str, share: float) -> int:
        if self.label_grades is None:
            if grade is None:
                check_labels_are_grades(self._counted, "counts")
            return label if grade is None else grade
        grades = self.label_grades.of(label)
        if grade is None and mode in _KEEPS_THE_EYE and len(grades) > 1:
            raise ValueError(
                f"mode {mode!r} keeps the photograph's own grade, and label {label} stands for the grades {grades}: "
                f"give each item its grade under {ICDR_GRADE!r}, as load_datalist(grade_map=...) does"
            )
        if grade is not None and grade not in grades:
            raise ValueError(f"an item of label {label} has the grade {grade}, and label_grades gives it {grades}")
        return self.label_grades.draw(label, share) if grade is None else grade


def _lesions(lesion: Any) -> tuple[str, ...]:
    lesions = [lesion] if isinstance(lesion, str) else list(lesion) if isinstance(lesion, Collection) else [lesion]
    if not all(isinstance(each, str) for each in lesions):
        raise ValueError(f"lesion: {lesion!r} came, want a name such as 'ex' or 'ex+he', or several in a list")
    return tuple(lesions) or ("",)


def _range(strength: Any) -> tuple[float, float]:
    if isinstance(strength, (str, bytes)) or not isinstance(strength, Sequence) or len(strength) != 2:
        raise ValueError(f"strength: {strength!r} came, two numbers are wanted, the range, such as (0.3, 1.0)")
    return check_real("strength", strength[0]), check_real("strength", strength[1])


def _probabilities(prob: Any, counts: Mapping[Any, int] | None) -> float | dict[int, float]:
    if isinstance(prob, str):
        if prob != "balance":
            raise ValueError(f'prob {prob!r}: want a number, a number per grade, or "balance"')
        if counts is None:
            raise ValueError('prob="balance" needs counts={grade: photographs}, e.g. counts=count_grades(items)')
        return balance_probabilities(counts)
    values = (
        {grade_of(g, "prob"): check_real("prob", p) for g, p in prob.items()}
        if isinstance(prob, Mapping)
        else check_real("prob", prob)
    )
    for p in values.values() if isinstance(values, dict) else [values]:
        if not 0 <= p <= 1:
            raise ValueError(f"prob {prob!r}: every probability must be in [0, 1]")
    return values
