"""The phantom fundus: a procedural eye with its grade and exact masks, from a seed: its signs, and its photograph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from monai_retina_gen.data.names import LATE_SIGNS, LESIONS, STRUCTURES

from .anatomy import (
    PALEST,
    Anatomy,
    Vessels,
    blend,
    disc_profile,
    draw_anatomy,
    draw_background,
    draw_beading,
    draw_optic_disc,
    draw_vessels,
    field_of_view,
    reflex_coverage,
    vessel_coverage,
)
from .drawing import Array, Discs, Strokes, distance_field, noise_field, pixel_grid
from .lesions import draw_lesions

GRADE_COUNTS = (114, 15, 107, 57, 39)
"""Photographs of each grade in IDRiD's training split."""

SIGNS = (*LESIONS, "four_quadrants", "beading", "irma", "neovascularisation", "preretinal", "membrane", "laser")
"""What is counted. `beading` counts quadrants; `four_quadrants` is 1 where each has 20 haemorrhages."""


@dataclass(frozen=True)
class GradeRule:
    """Signs of one grade.

    Attributes:
        counts: lowest and highest number of each sign, and how often it is drawn at all; otherwise, and where it is not
            named, its count is zero.
        required: alternatives, at least one of which is present (with at least one, for beading two).
    """

    counts: Mapping[str, tuple[int, int, float]] = field(default_factory=dict)
    required: tuple[str, ...] = ()


GRADE_RULES: tuple[GradeRule, ...] = (
    GradeRule(),
    GradeRule({"ma": (1, 8, 1)}),
    GradeRule(
        {"ma": (3, 25, 1), "he": (1, 30, 0.85), "ex": (3, 90, 0.7), "se": (1, 3, 0.25)},
        required=("he", "ex", "se"),
    ),
    GradeRule(
        {
            "ma": (10, 50, 1),
            "he": (12, 60, 1),
            "ex": (5, 160, 0.8),
            "se": (1, 6, 0.5),
            "four_quadrants": (1, 1, 0.4),
            "beading": (2, 4, 0.4),
            "irma": (1, 4, 0.4),
        },
        required=("four_quadrants", "beading", "irma"),
    ),
    GradeRule(
        {
            "ma": (5, 40, 1),
            "he": (5, 50, 1),
            "ex": (5, 160, 0.7),
            "se": (1, 5, 0.35),
            "beading": (2, 4, 0.3),
            "irma": (1, 3, 0.3),
            "neovascularisation": (1, 4, 0.85),
            "preretinal": (1, 2, 0.3),
            "membrane": (1, 2, 0.3),
            "laser": (60, 220, 0.4),
        },
        required=("neovascularisation", "preretinal"),
    ),
)


def draw_grade(rng: np.random.Generator) -> int:
    """Draw a grade with the frequencies of IDRiD's training split."""
    return int(rng.choice(len(GRADE_COUNTS), p=np.array(GRADE_COUNTS) / sum(GRADE_COUNTS)))


def draw_counts(grade: int, rng: np.random.Generator) -> dict[str, int]:
    """Draw the number of each of `SIGNS` for a grade."""
    rule = GRADE_RULES[grade]
    counts = dict.fromkeys(SIGNS, 0)
    for sign, (low, high, probability) in rule.counts.items():
        if rng.random() < probability:  # small numbers more often: lesion counts have a long tail
            counts[sign] = low + int((high - low + 1) * rng.random() ** 2)
    if rule.required and not any(counts[sign] for sign in rule.required):
        sign = str(rng.choice(rule.required))
        counts[sign] = rule.counts[sign][0]
    return counts


MASKS = (*STRUCTURES, "fov", *LATE_SIGNS)
"""Names of a phantom's masks."""


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
    if seed < 0:
        raise ValueError(f"seed is {seed}; a phantom's seed is a whole number from 0")
    if grade is not None and grade not in range(len(GRADE_RULES)):
        raise ValueError(f"grade is {grade!r}; give 0, 1, 2, 3 or 4, or None to draw it")
    if size < 16:
        raise ValueError(f"size is {size} pixels; a phantom needs at least 16")
    # One stream for each part, so that a part does not change when another draws more numbers.
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(7)]
    grade = draw_grade(streams[0]) if grade is None else int(grade)
    anatomy = draw_anatomy(streams[1])
    vessels = draw_vessels(anatomy, streams[2])
    counts = draw_counts(grade, streams[3])
    if counts["beading"]:
        quadrants = streams[4].permutation(4)[: counts["beading"]]
        vessels = draw_beading(vessels, quadrants, anatomy, streams[4])
    shapes, quota = draw_lesions(anatomy, counts, streams[5])
    image, masks = render_phantom(anatomy, vessels, shapes, size, streams[6])
    return PhantomFundus(
        image=torch.from_numpy(np.ascontiguousarray(image)),
        masks={name: torch.from_numpy(np.ascontiguousarray(masks[name]))[None] for name in MASKS},
        grade=grade,
        seed=int(seed),
        lesion_counts={**counts, "he": sum(quota)},
        he_quadrants=quota,
        fovea=(float(anatomy.fovea[0] + 1) / 2, float(anatomy.fovea[1] + 1) / 2),
        temporal=anatomy.temporal,
    )


SHAPES = (*LESIONS, *LATE_SIGNS, "preretinal", "pigment", "new")
"""What `draw_lesions` draws; `new` are new vessels and IRMA, `pigment` lies in laser scars."""

# Share of red, green and blue light that is lost where a structure covers the pixel (Beer-Lambert exponents).
ABSORPTION = {
    "vein": (0.25, 0.68, 0.85),
    "artery": (0.06, 0.45, 0.6),
    "he": (0.42, 0.8, 0.6),
    "ma": (0.3, 0.7, 0.5),
    "new": (0.06, 0.42, 0.4),
    "pigment": (0.6, 0.85, 0.9),
}


def render_phantom(
    anatomy: Anatomy,
    vessels: list[Vessels],
    lesions: Mapping[str, Discs | Strokes],
    size: int,
    rng: np.random.Generator,
) -> tuple[Array, dict[str, Array]]:
    """Render one eye: image (3, size, size) in [0, 1] and masks (size, size) in [0, 1] by name."""
    covers = _coverages(anatomy, vessels, lesions, size)
    image = draw_background(anatomy, size, rng)
    blend(image, covers["laser"] * 0.65, _pale(anatomy, 0.85))
    _absorb(image, covers["pigment"], "pigment")
    draw_optic_disc(image, anatomy, size, rng)
    blend(image, covers["ex"] * 0.85, _exudate_colour(anatomy))
    contrast = rng.uniform(0.55, 1.05)
    for name in ("artery", "vein", "ma", "he", "new"):
        _absorb(image, covers[name] * contrast, name)
    image += (covers["reflex"] * 0.1) * anatomy.colour[:, None, None]
    blend(image, covers["se"] * 0.6, _pale(anatomy, 1.0))
    sheet = (0.6 + 0.15 * noise_field(rng, 20, size)).clip(0.2, 0.9)
    blend(image, covers["membrane"] * sheet, _pale(anatomy, 0.9))
    _absorb(image, covers["preretinal"] * 1.1, "he")
    image = _photograph(image, anatomy, covers["fov"], rng)
    return image, _masks(covers)


def _coverages(
    anatomy: Anatomy, vessels: list[Vessels], lesions: Mapping[str, Discs | Strokes], size: int
) -> dict[str, Array]:
    artery, arterial_blood = vessel_coverage(vessels, False, size)
    vein, venous_blood = vessel_coverage(vessels, True, size)
    return {
        **dict.fromkeys(SHAPES, np.zeros((size, size), np.float32)),
        **{name: shape.coverage(size) for name, shape in lesions.items()},
        "vessel": np.maximum(artery, vein),
        "artery": arterial_blood,
        "vein": venous_blood,
        "reflex": reflex_coverage(vessels[0], size),
        "od": disc_profile(anatomy, size, 1.0, 0.08),
        "fov": field_of_view(anatomy, size),
    }


def _masks(covers: dict[str, Array]) -> dict[str, Array]:
    """Masks as an annotator would draw them, cut at the field of view."""
    fov = covers["fov"]
    masks = {name: np.minimum(covers[name], fov) for name in ("ma", "ex", "se", "od", "laser", "membrane")}
    masks["he"] = np.minimum(np.maximum(covers["he"], covers["preretinal"]), fov)
    vessel = np.maximum(covers["vessel"], covers["new"])
    return {**masks, "vessel": np.minimum(vessel, fov), "fov": fov}


def _absorb(image: Array, cover: Array, name: str) -> None:
    """Weaken the light where blood or pigment covers the pixel, in place."""
    if cover.any():
        for channel, strength in enumerate(ABSORPTION[name]):
            image[channel] *= np.exp(-strength * cover)


def _pale(anatomy: Anatomy, brightness: float) -> Array:
    """Whitish tissue under this eye's light."""
    colour = np.array([1.25, 1.9, 2.6]) * anatomy.colour + 0.1
    return (brightness * colour.clip(0, PALEST)).astype(np.float32)


def _exudate_colour(anatomy: Anatomy) -> Array:
    colour = np.array([1.2, 1.9, 1.8]) * anatomy.colour + np.array([0.2, 0.2, 0.03])
    return colour.clip(0, 1).astype(np.float32)


def _photograph(image: Array, anatomy: Anatomy, fov: Array, rng: np.random.Generator) -> Array:
    """The camera: blur, veil, fall-off towards the rim, mask and noise."""
    size = image.shape[-1]
    blur = rng.uniform(0.003, 0.008) * size / 2
    for axis in (1, 2):
        image = gaussian_filter1d(image, blur, axis=axis, truncate=2.5, mode="nearest")
    veil = rng.beta(1, 6)
    image += veil * 0.4 * (anatomy.colour[:, None, None] * 1.05 - image)
    radius = distance_field(size, (0, 0))
    image *= 1 - rng.uniform(0.15, 0.55) * radius**3
    if rng.random() < 0.3:
        blend(image, _rim_haze(radius, rng), _pale(anatomy, 0.75) + np.float32(0.06))
    image += rng.normal(0, 0.006, (3, 1, 1)).clip(-0.01, 0.01)
    image += 0.004 * rng.standard_normal(image.shape, dtype=np.float32)
    image *= fov
    return np.clip(image, 0, 1, out=image).astype(np.float32)


def _rim_haze(radius: Array, rng: np.random.Generator) -> Array:
    """Light scattered at the pupil's edge: a pale crescent on one side of the photograph."""
    x, y = pixel_grid(len(radius))
    angle = rng.uniform(0, 2 * np.pi)
    depth = radius + 0.3 * (x * math.cos(angle) + y * math.sin(angle)) - 1.15
    return rng.uniform(0.2, 0.7) / (1 + np.exp(-depth / 0.05))
