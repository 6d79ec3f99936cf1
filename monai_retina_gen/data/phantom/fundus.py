"""The phantom fundus: a procedural eye with its grade and exact masks, from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.data.names import LATE_SIGNS, STRUCTURES

from .anatomy import draw_anatomy
from .grades import GRADE_RULES, draw_counts, draw_grade
from .lesions import draw_lesions
from .render import render_phantom
from .vessels import draw_beading, draw_vessels

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
        lesion_counts: number of each of `grades.SIGNS`; `he` without preretinal haemorrhages, `ex` counts
            deposits, which may touch.
        he_quadrants: haemorrhages per quadrant about the fovea: superior temporal, superior nasal, inferior
            temporal, inferior nasal.
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
    follow the international clinical scale (`grades.GRADE_RULES`).

    Args:
        seed: any whole number from 0.
        grade: 0-4, or None to draw it with the frequencies of IDRiD's training split.
        size: width and height in pixels, at least 16.

    Returns:
        Image, masks, grade and counts; equal arguments give equal results, bit for bit.

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
