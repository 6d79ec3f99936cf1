"""The vessels of a phantom: arcades from the disc and three generations of branches.

A vessel is a curve whose heading turns from a start to an end direction, with some tortuosity; at each branch
its calibre falls by Murray's law (the cubes of the radii add up; Murray, PNAS 12 (1926) 207-214). All vessels
of one generation are drawn at once, as arrays (vessels, points).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .anatomy import Anatomy
from .drawing import Array, stroke_coverage

TRUNK_POINTS = 64
# Branches of each vessel in the next generation, and the points that those are drawn with.
GENERATIONS = ((6, 40), (4, 24), (2, 16))
# Start and end heading in degrees from the temporal direction towards the superior one (inferior: mirrored),
# length over which the heading turns, length, and calibre relative to the temporal vein.
TRUNKS = (
    (85.0, 0.0, 0.55, 1.9, 1.0),
    (125.0, 155.0, 0.4, 0.9, 0.7),
    (45.0, 10.0, 0.5, 0.6, 0.3),
)
# Wavelengths and amplitudes (radians) of the heading's swings.
TORTUOSITY = ((0.6, 0.2), (0.25, 0.17), (0.1, 0.13))
AVASCULAR_RADIUS = 0.11
FINE_VESSEL_BLOOD = 0.75


@dataclass(frozen=True)
class Vessels:
    """One generation of vessels: `points` (V, N, 2), `radii` (V, N) with 0 past the end, `veins` (V,)."""

    points: Array
    radii: Array
    headings: Array
    veins: np.ndarray


@dataclass(frozen=True)
class _Stems:
    """Vessels about to grow.

    Where each starts (V, 2), its heading at start and end (V, 2), and, each (V,), the length over which the heading
    turns, the whole length, the radius, and whether it is a vein.
    """

    start: np.ndarray
    angles: np.ndarray
    turn: np.ndarray
    length: np.ndarray
    radius: np.ndarray
    veins: np.ndarray


def draw_vessels(anatomy: Anatomy, rng: np.random.Generator) -> list[Vessels]:
    """Draw the vessel tree of an eye, one entry per generation."""
    generations = [_draw_trunks(anatomy, rng)]
    for branches, points in GENERATIONS:
        parent, child = _draw_branches(generations[-1], branches, points, anatomy, rng)
        generations[-1] = parent
        generations.append(child)
    return generations


def _draw_trunks(anatomy: Anatomy, rng: np.random.Generator) -> Vessels:
    """Artery and vein of each of the four arcades, and small vessels towards the macula."""
    table = np.tile(np.repeat(np.array(TRUNKS), 2, axis=0), (2, 1))
    count = len(table)
    inferior = np.arange(count) >= count // 2
    veins = np.arange(count) % 2 == 1
    angles = np.deg2rad(table[:, :2] + rng.normal(0, (8, 6), (count, 2)))
    angles[:, 0] -= np.where(veins, 0.1, -0.1)
    angles *= np.where(inferior, -1, 1)[:, None]
    calibre = rng.uniform(0.014, 0.0185) * table[:, 4] * np.where(veins, 1.0, rng.uniform(0.65, 0.8))
    calibre *= rng.uniform(0.85, 1.1, count)
    start = anatomy.disc + rng.uniform(-0.3, 0.3, (count, 2)) * anatomy.disc_radii
    length = table[:, 3] * rng.uniform(0.9, 1.15, count)
    return _grow(_Stems(start, angles, table[:, 2], length, calibre, veins), TRUNK_POINTS, anatomy, rng)


def _grow(stems: _Stems, points: int, anatomy: Anatomy, rng: np.random.Generator) -> Vessels:
    """Integrate headings into curves of so many points."""
    along = np.linspace(0, 1, points) * stems.length[:, None]
    first, last = stems.angles[:, :1], stems.angles[:, 1:]
    heading = last + (first - last) * np.exp(-((along / stems.turn[:, None]) ** 1.5))
    for wavelength, amplitude in TORTUOSITY:
        phase = 2 * np.pi * (along / wavelength + rng.random((len(along), 1)))
        heading += amplitude * rng.uniform(0.3, 1.2, (len(along), 1)) * np.sin(phase)
    step = np.stack([np.cos(heading) * anatomy.temporal, -np.sin(heading)], -1)
    step *= (stems.length / (points - 1))[:, None, None]
    path = stems.start[:, None] + np.cumsum(step, axis=1) - step[:, :1]
    radii = stems.radius[:, None] * (1 - 0.3 * np.linspace(0, 1, points))
    return _end_early(Vessels(path.astype(np.float32), radii.astype(np.float32), heading, stems.veins), anatomy)


def _end_early(vessels: Vessels, anatomy: Anatomy) -> Vessels:
    """Let every vessel thin out towards the fovea's avascular zone, and end it once out of the photograph."""
    fovea = np.hypot(*np.moveaxis(vessels.points - anatomy.fovea, -1, 0))
    outside = np.hypot(*np.moveaxis(vessels.points, -1, 0)) > 1.05
    ended = np.logical_or.accumulate((fovea < AVASCULAR_RADIUS) | outside, axis=1)
    widest = 0.002 + 0.05 * (np.minimum.accumulate(fovea, axis=1) - AVASCULAR_RADIUS)
    return replace(vessels, radii=np.where(ended, 0, np.minimum(vessels.radii, widest)).astype(np.float32))


def _draw_branches(
    parent: Vessels, branches: int, points: int, anatomy: Anatomy, rng: np.random.Generator
) -> tuple[Vessels, Vessels]:
    """Let branches leave each vessel on alternating sides; returns the thinned parent and the branches."""
    count, last = len(parent.points), parent.points.shape[1] - 1
    slots = (np.arange(branches) + rng.uniform(0.1, 0.9, (count, branches))) / branches
    index = ((0.1 + 0.85 * slots) * last).astype(np.int64)
    thinned, radius = _divide(parent, index, rng.uniform(0.35, 0.75, index.shape))
    grows = radius > 0.0022
    side = np.where((np.arange(branches) + rng.integers(0, 2, (count, 1))) % 2, 1, -1)
    leaving, ending = rng.uniform(0.5, 1.1, index.shape), rng.uniform(-0.2, 1.2, index.shape)
    heading = np.take_along_axis(parent.headings, index, 1)
    angles = heading[..., None] + side[..., None] * np.stack([leaving, ending], -1)
    start = np.take_along_axis(parent.points, index[:, :, None], 1)
    veins = np.broadcast_to(parent.veins[:, None], index.shape)
    length = 75 * radius[grows] * rng.uniform(0.6, 1.4, int(grows.sum()))
    stems = _Stems(start[grows], angles[grows], 0.3 * length, length, radius[grows], veins[grows])
    return thinned, _grow(stems, points, anatomy, rng)


def _divide(parent: Vessels, index: np.ndarray, share: np.ndarray) -> tuple[Vessels, np.ndarray]:
    """Branches at the points `index` (V, B) with a `share` of the parent's radius; the rest stays by Murray's law.

    Returns the parent, and the radius of each branch (V, B).
    """
    cubes, radius = parent.radii.astype(np.float64) ** 3, np.empty(index.shape)
    for branch, (at, part) in enumerate(zip(index.T, share.T, strict=True)):
        radius[:, branch] = part * np.cbrt(cubes[np.arange(len(at)), at])
        cubes *= np.where(np.arange(cubes.shape[1]) > at[:, None], 1 - part[:, None] ** 3, 1)
    return replace(parent, radii=np.cbrt(cubes).astype(np.float32)), radius


def draw_beading(
    generations: list[Vessels], quadrants: np.ndarray, anatomy: Anatomy, rng: np.random.Generator
) -> list[Vessels]:
    """Let the veins of the given quadrants swell and narrow like a string of beads."""
    trunk = generations[0]
    inside = np.isin(anatomy.quadrants(trunk.points.reshape(-1, 2)), quadrants).reshape(trunk.radii.shape)
    beads = np.sin(np.arange(TRUNK_POINTS) * 1.5 + rng.uniform(0, 6, (len(trunk.points), 1)))
    swollen = trunk.radii * (1 + 0.45 * beads)
    radii = np.where(inside & trunk.veins[:, None], swollen, trunk.radii)
    return [replace(trunk, radii=radii.astype(np.float32)), *generations[1:]]


def vessel_coverage(generations: list[Vessels], veins: bool, size: int) -> tuple[Array, Array]:
    """Coverage (size, size) of the arteries or the veins, and the amount of blood: less in fine vessels."""
    cover, blood = np.zeros((2, size, size), np.float32)
    for depth, vessels in enumerate(generations):
        chosen = vessels.veins == veins
        strokes = stroke_coverage(vessels.points[chosen], vessels.radii[chosen], size)
        np.maximum(cover, strokes, out=cover)
        np.maximum(blood, strokes * FINE_VESSEL_BLOOD**depth, out=blood)
    return cover, blood


def reflex_coverage(trunks: Vessels, size: int) -> Array:
    """Coverage (size, size) of the light reflex along the middle of the large arteries."""
    return stroke_coverage(trunks.points[~trunks.veins], trunks.radii[~trunks.veins] * 0.35, size)
