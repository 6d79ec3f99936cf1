"""Phantoms as a smooth function of few factors: the same eye with more or less of each lesion, drawn exactly.

`phantom_fundus` draws every eye anew from its seed, and no two eyes are neighbours. Here one eye is drawn whose disc,
colours and lesions follow continuous factors, so that a small generator can learn the function, and lesions asked for
can be compared with lesions drawn. The lesions are few and large enough to be seen at 64 px: each stands for many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from monai_retina_gen.data.names import LESIONS

from .anatomy import Anatomy, Vessels, draw_anatomy, draw_vessels
from .drawing import Array, Discs, pixel_grid
from .fundus import render_phantom

FACTORS = ("disc_x", "disc_y", "brightness", "warmth", "light", *LESIONS, "preretinal")
"""Amounts (a lesion's name, `preretinal`) lie in [0, 1], the others in [-1, 1]."""

# Lowest and highest amount of each lesion by grade, after the international scale: none; microaneurysms only; more;
# haemorrhages in all quadrants; preretinal blood.
AMOUNTS: tuple[dict[str, tuple[float, float]], ...] = (
    {},
    {"ma": (0.25, 0.7)},
    {"ma": (0.4, 1.0), "he": (0.1, 0.55), "ex": (0.0, 0.9), "se": (0.0, 0.5)},
    {"ma": (0.5, 1.0), "he": (0.75, 1.0), "ex": (0.1, 1.0), "se": (0.2, 1.0)},
    {"ma": (0.3, 1.0), "he": (0.4, 1.0), "ex": (0.0, 1.0), "se": (0.0, 0.8), "preretinal": (0.5, 1.0)},
)

# Radius of a full-grown lesion, and where each lies about the fovea (x towards the temporal side, y down).
SITES: dict[str, tuple[float, tuple[tuple[float, float], ...]]] = {
    "ma": (0.07, ((-0.25, -0.15), (0.35, 0.12), (0.2, -0.42), (-0.22, 0.42))),
    "he": (0.12, ((0.5, -0.3), (-0.05, -0.6), (0.45, 0.4), (-0.1, 0.62))),
    "ex": (0.11, ((0.2, -0.12), (-0.2, 0.16), (0.12, 0.2))),
    "se": (0.14, ((-0.5, -0.4), (-0.5, 0.42))),
}
# Spots that a lesion of each site falls into when scattered, and their radius as a share of the site's.
SPOTS = {"ma": (1, 0.4), "he": (4, 0.55), "ex": (10, 0.4), "se": (1, 0.8)}
EDGES = {"ma": 0.015, "he": 0.02, "ex": 0.015, "se": 0.06}
PRERETINAL = ((0.22, 0.66), 0.19)
ANATOMY_SEED, VESSEL_SEED, RENDER_SEED = 8, 5, 3
VESSEL_WIDTH = 1.7
"""Vessels are drawn wider than in `phantom_fundus`: those are finer than a pixel at 64 px."""

SHIFT = 0.03
STAGGER = 0.3


def grade_amount(grade: int, lesion: str, share: float) -> float:
    """Amount of a lesion: `share` in [0, 1] of the range that the grade allows."""
    low, high = AMOUNTS[grade].get(lesion, (0.0, 0.0))
    return low + (high - low) * share


@lru_cache(maxsize=1)
def _template() -> tuple[Anatomy, tuple[Vessels, ...]]:
    """The eye of all smooth phantoms, about a disc in its mean place."""
    drawn = draw_anatomy(np.random.default_rng(ANATOMY_SEED))
    disc = np.array([-0.52, -0.02], np.float32)
    anatomy = replace(
        drawn,
        temporal=1,
        disc=disc,
        disc_radii=(0.15, 0.165),
        fovea=disc + np.array([0.7, 0.06], np.float32),
        colour=np.array([0.62, 0.31, 0.1], np.float32),
        vertical_limit=0.84,
        field_radius=0.98,
    )
    tree = draw_vessels(anatomy, np.random.default_rng(VESSEL_SEED))[:2]
    return anatomy, tuple(replace(v, radii=v.radii * np.float32(VESSEL_WIDTH)) for v in tree)


def draw_smooth_phantom(
    factors: Sequence[float] | Array, *, size: int = 64, scattered: bool = False
) -> tuple[Array, dict[str, Array]]:
    """Draw the eye of the factors, a number for each of `FACTORS` (`ValueError` for another number of them).

    `scattered` draws each lesion as a group of spots, as photographs show them, instead of one disc. Returns the image
    (3, size, size) in [0, 1], and masks (size, size) in [0, 1] by name as those of `phantom_fundus`, with `sites`: what
    all lesions would cover at most.
    """
    if len(factors) != len(FACTORS):
        raise ValueError(f"factors has {len(factors)} numbers: give one for each of {', '.join(FACTORS)}")
    value = dict(zip(FACTORS, (float(f) for f in factors), strict=True))
    anatomy, vessels = _moved(value)
    lesions = _lesions(anatomy, value, scattered)
    image, masks = render_phantom(anatomy, vessels, lesions, size, np.random.default_rng(RENDER_SEED))
    x, y = pixel_grid(size)
    image = (image * (1 + 0.15 * value["light"] * (x - 0.5 * y))).clip(0, 1).astype(np.float32)
    full = _lesions(anatomy, {**value, **dict.fromkeys((*LESIONS, "preretinal"), 1.0)}, scattered)
    sites = [shape.coverage(size) for shape in full.values()]
    return image, {**masks, "sites": np.minimum(np.maximum.reduce(sites), masks["fov"])}


def _moved(value: dict[str, float]) -> tuple[Anatomy, list[Vessels]]:
    """The template with its disc, fovea and vessels shifted, in its own colour."""
    anatomy, vessels = _template()
    shift = SHIFT * np.array([value["disc_x"], value["disc_y"]], np.float32)
    warm = np.array([0.06, -0.06, -0.25], np.float32) * value["warmth"]
    colour = anatomy.colour * (1 + 0.22 * value["brightness"]) * (1 + warm)
    moved = replace(anatomy, disc=anatomy.disc + shift, fovea=anatomy.fovea + shift, colour=colour.astype(np.float32))
    return moved, [replace(v, points=v.points + shift) for v in vessels]


def _growth(amount: float, count: int) -> Array:
    """Radius of each site as a share of the full one: all grow with the amount, the later ones behind the first."""
    behind = np.linspace(0, STAGGER, count)
    return ((amount - behind) / (1 - behind)).clip(0, 1).astype(np.float32)


def _spots(centres: Array, radius: float, count: int, share: float) -> tuple[Array, Array]:
    """Centres and radii of `count` spots at each site, along Vogel's spiral, turned and scaled from spot to spot.

    The order goes round the sites, so that all of them grow together.
    """
    number = np.arange(count * len(centres))
    angle = 2.399963 * number + 0.7 * (number % len(centres))
    reach = radius * (1 - share) * np.sqrt((number // len(centres)) / max(count - 1, 1))
    offset = np.stack([np.cos(angle), np.sin(angle)], 1) * reach[:, None]
    scale = 0.8 + 0.2 * np.cos(3 * angle)
    return (np.tile(centres, (count, 1)) + offset).astype(np.float32), (radius * share * scale).astype(np.float32)


def _lesions(anatomy: Anatomy, value: dict[str, float], scattered: bool) -> dict[str, Discs]:
    found: dict[str, Discs] = {}
    for name in LESIONS:
        radius, places = SITES[name]
        centres = np.array(places, np.float32)
        radii = np.full(len(centres), radius, np.float32)
        if scattered:
            centres, radii = _spots(centres, radius, *SPOTS[name])
        growth = _growth(value[name], len(centres))
        found[name] = Discs(anatomy.fovea + centres, radii * growth, edge=EDGES[name])
    place, radius = PRERETINAL
    blood = np.full(1, radius * value["preretinal"], np.float32)
    found["preretinal"] = Discs((anatomy.fovea + np.array([place])).astype(np.float32), blood, edge=0.02)
    return found
