"""The grade's clinical rules as data: how many of each sign a phantom of that grade shows.

Source: Wilkinson et al., "Proposed international clinical diabetic retinopathy and diabetic macular edema disease
severity scales", Ophthalmology 110 (2003) 1677-1682: none (0); microaneurysms only (1); more, but less than severe (2);
any of the 4-2-1 rule without proliferation (3), that is 20 or more haemorrhages in each of four quadrants, venous
beading in two or more, or intraretinal microvascular abnormalities (IRMA) in one or more; neovascularisation or
vitreous/preretinal haemorrhage (4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

GRADE_COUNTS = (114, 15, 107, 57, 39)
"""Photographs of each grade in IDRiD's training split."""

SIGNS = (
    "ma",
    "he",
    "ex",
    "se",
    "four_quadrants",
    "beading",
    "irma",
    "neovascularisation",
    "preretinal",
    "membrane",
    "laser",
)
"""What is counted. `beading` counts quadrants; `four_quadrants` is 1 where each has 20 haemorrhages."""


@dataclass(frozen=True)
class GradeRule:
    """Signs of one grade.

    Attributes:
        counts: lowest and highest number of each sign; a sign that is not named is absent.
        probability: how often a sign is drawn at all, 1 where not named; otherwise its count is zero.
        required: alternatives, at least one of which is present (with at least one, for beading two).
    """

    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    probability: Mapping[str, float] = field(default_factory=dict)
    required: tuple[str, ...] = ()


GRADE_RULES: tuple[GradeRule, ...] = (
    GradeRule(),
    GradeRule(counts={"ma": (1, 8)}),
    GradeRule(
        counts={"ma": (3, 25), "he": (1, 30), "ex": (3, 90), "se": (1, 3)},
        probability={"he": 0.85, "ex": 0.7, "se": 0.25},
        required=("he", "ex", "se"),
    ),
    GradeRule(
        counts={
            "ma": (10, 50),
            "he": (12, 60),
            "ex": (5, 160),
            "se": (1, 6),
            "four_quadrants": (1, 1),
            "beading": (2, 4),
            "irma": (1, 4),
        },
        probability={"ex": 0.8, "se": 0.5, "four_quadrants": 0.4, "beading": 0.4, "irma": 0.4},
        required=("four_quadrants", "beading", "irma"),
    ),
    GradeRule(
        counts={
            "ma": (5, 40),
            "he": (5, 50),
            "ex": (5, 160),
            "se": (1, 5),
            "beading": (2, 4),
            "irma": (1, 3),
            "neovascularisation": (1, 4),
            "preretinal": (1, 2),
            "membrane": (1, 2),
            "laser": (60, 220),
        },
        probability={
            "ex": 0.7,
            "se": 0.35,
            "beading": 0.3,
            "irma": 0.3,
            "neovascularisation": 0.85,
            "preretinal": 0.3,
            "membrane": 0.3,
            "laser": 0.4,
        },
        required=("neovascularisation", "preretinal"),
    ),
)


def draw_grade(rng: np.random.Generator) -> int:
    """Draw a grade with the frequencies of IDRiD's training split."""
    share = np.array(GRADE_COUNTS) / sum(GRADE_COUNTS)
    return int(rng.choice(len(GRADE_COUNTS), p=share))


def draw_counts(grade: int, rng: np.random.Generator) -> dict[str, int]:
    """Draw the number of each of `SIGNS` for a grade."""
    rule = GRADE_RULES[grade]
    counts = dict.fromkeys(SIGNS, 0)
    for sign, (low, high) in rule.counts.items():
        if rng.random() < rule.probability.get(sign, 1.0):
            counts[sign] = _skewed(rng, low, high)
    if rule.required and not any(counts[sign] for sign in rule.required):
        sign = str(rng.choice(rule.required))
        counts[sign] = rule.counts[sign][0]
    return counts


def _skewed(rng: np.random.Generator, low: int, high: int) -> int:
    """Whole number in [low, high], small ones more often: lesion counts have a long tail."""
    return low + int((high - low + 1) * rng.random() ** 2)
