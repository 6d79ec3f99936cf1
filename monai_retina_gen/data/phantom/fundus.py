"""The phantom fundus: a procedural eye with its grade and exact masks, from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.data.names import LATE_SIGNS, LESIONS, STRUCTURES

from .anatomy import draw_anatomy
from .lesions import draw_lesions
from .render import render_phantom
from .vessels import draw_beading, draw_vessels

GRADE_COUNTS = (114, 15, 107, 57, 39)
"""Photographs of each grade in IDRiD's training split."""

SIGNS = (*LESIONS, "four_quadrants", "beading", "irma", "neovascularisation", "preretinal", "membrane", "laser")
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


MASKS = (*STRUCTURES, "fov", *LATE_SIGNS)
"""Names of a phantom's masks."""

SMALLEST = 16


@dataclass(frozen=True)
class PhantomFundus:
    """A phantom eye.

    Attributes:
        image: RGB float32 (3, size, size) in [0, 1].
        masks: float32 (1, size, size) in [0, 1] for each name in `MASKS`: the fraction of the pixel covered.
            `he` includes preretinal blood, `vessel` new vessels and IRMA.
        grade: severity of diabetic retinopathy, 0-4.
        seed: seed of the eye.
        lesion_counts: number of each of `SIGNS`; `he` without preretinal haemorrhages, `ex` counts deposits.
        he_quadrants: haemorrhages per quadrant about the fovea, in the order of `QUADRANTS`.
        fovea: its position (x, y) as a fraction of the width and height.
        temporal: direction of the macula as seen from the disc: +1 right, -1 left.
    """

    image: Tensor
    masks: dict[str, Tensor]
    grade: int
    seed: int
    lesion_counts: dict[str, int]
    he_quadrants: tuple[int, int, int, int]
    fovea: tuple[float, float]
    temporal: int


def phantom_fundus(seed: int, *, grade: int | None = None, size: int = 128) -> PhantomFundus:
    """Draw a phantom fundus: a procedural eye, not a photograph.

    The same seed gives the same eye at every size, and the same healthy anatomy at every grade. Lesions
    follow the international clinical scale (`GRADE_RULES`). Equal arguments give equal results, bit for bit.

    Args:
        seed: any whole number from 0.
        grade: 0-4, or None to draw it with the frequencies of IDRiD's training split.
        size: width and height in pixels, at least 16.

    Raises:
        ValueError: where seed, grade or size is outside its range.

    Examples:
        >>> phantom = phantom_fundus(7, grade=3, size=64)
        >>> phantom.image.shape, phantom.grade, sorted(phantom.masks)
        (torch.Size([3, 64, 64]), 3, ['ex', 'fov', 'he', 'laser', 'ma', 'membrane', 'od', 'se', 'vessel'])
    """
    _check_arguments(seed, grade, size)
    # One stream for each part, so that a part does not change when another draws more numbers.
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(7)]
    grade = draw_grade(streams[0]) if grade is None else int(grade)
    anatomy = draw_anatomy(streams[1])
    vessels = draw_vessels(anatomy, streams[2])
    counts = draw_counts(grade, streams[3])
    if counts["beading"]:
        quadrants = streams[4].permutation(4)[: counts["beading"]]
        vessels = draw_beading(vessels, quadrants, anatomy, streams[4])
    lesions = draw_lesions(anatomy, counts, streams[5])
    image, masks = render_phantom(anatomy, vessels, lesions, size, streams[6])
    return PhantomFundus(
        image=torch.from_numpy(np.ascontiguousarray(image)),
        masks={name: torch.from_numpy(np.ascontiguousarray(masks[name]))[None] for name in MASKS},
        grade=grade,
        seed=int(seed),
        lesion_counts=lesions.counts,
        he_quadrants=lesions.he_quadrants,
        fovea=(float(anatomy.fovea[0] + 1) / 2, float(anatomy.fovea[1] + 1) / 2),
        temporal=anatomy.temporal,
    )


def _check_arguments(seed: int, grade: int | None, size: int) -> None:
    if seed < 0:
        raise ValueError(f"seed is {seed}; a phantom's seed is a whole number from 0")
    if grade is not None and grade not in range(len(GRADE_RULES)):
        raise ValueError(f"grade is {grade!r}; give 0, 1, 2, 3 or 4, or None to draw it")
    if size < SMALLEST:
        raise ValueError(f"size is {size} pixels; a phantom needs at least {SMALLEST}")
