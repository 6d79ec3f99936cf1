"""The lesions of a phantom: how many, where they lie and how they are shaped, in unit coordinates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from monai_retina_gen.data.lesion_rules import SEVERE_PER_QUADRANT

from .anatomy import Anatomy
from .drawing import Array, Discs, Strokes

Allowed = Callable[[np.ndarray], np.ndarray]
"""Says which of the points (M, 2) may be the centre of a lesion."""


def retina(anatomy: Anatomy, *, margin: float, quadrant: int | None = None) -> Allowed:
    """Inside the field of view by `margin`, off the disc, and in one quadrant where one is given."""

    def allowed(points: np.ndarray) -> np.ndarray:
        inside = anatomy.in_field(points, margin) & (anatomy.disc_distance(points) > 1.25)
        return inside if quadrant is None else inside & (anatomy.quadrants(points) == quadrant)

    return allowed


def scatter(
    extents: np.ndarray,
    allowed: Allowed,
    rng: np.random.Generator,
    *,
    taken: np.ndarray | None = None,
    centre: Array | None = None,
    spread: float = 0.5,
) -> Array:
    """Centres (N, 2) of lesions of half-size `extents`, placed one by one where `allowed` and clear of each other.

    Candidates are uniform over the square, or normal about `centre` with deviation `spread`; `taken` are occupied
    places, rows (x, y, half-size).
    """
    first = 0 if taken is None else len(taken)
    placed = np.zeros((first + len(extents), 3))
    placed[:first] = taken if taken is not None else 0
    filled = first
    while filled < len(placed):
        points = rng.uniform(-1, 1, (64, 2)) if centre is None else rng.normal(centre, spread, (64, 2))
        for point in points[allowed(points)][: len(placed) - filled]:
            extent = extents[filled - first]
            gap = np.hypot(placed[:filled, 0] - point[0], placed[:filled, 1] - point[1])
            if (gap > placed[:filled, 2] + extent).all():
                placed[filled] = (*point, extent)
                filled += 1
    return placed[first:, :2].astype(np.float32)


def flatten(points: np.ndarray) -> Array:
    """Points of any leading shape as (N, 2)."""
    return points.reshape(-1, 2).astype(np.float32)


def draw_preretinal(anatomy: Anatomy, count: int, rng: np.random.Generator) -> tuple[Discs, np.ndarray]:
    """Boat-shaped blood before the retina, level at the top; also the places it takes: x, y, half-size."""
    half = rng.uniform(0.1, 0.2, count)
    centres = scatter(half + 0.02, retina(anatomy, margin=0.2), rng)
    columns = np.linspace(-0.85, 0.85, 25)
    depth = rng.uniform(0.4, 0.9, (count, 1, 1)) * np.sqrt(1 - columns**2)
    # Each column is five discs, from the level top down to the curved bottom.
    rows = np.linspace(0, 1, 5)[:, None] * (depth - 0.24).clip(0) + 0.12
    x = centres[:, :1] + half[:, None] * columns
    y = centres[:, 1, None, None] + half[:, None, None] * rows
    points = np.stack(np.broadcast_arrays(x[:, None], y), -1)
    radii = np.broadcast_to(half[:, None, None] * 0.13, y.shape).ravel()
    return Discs(flatten(points), radii.astype(np.float32)), np.column_stack([centres, half + 0.02])


def draw_laser(anatomy: Anatomy, count: int, rng: np.random.Generator) -> tuple[Discs, Discs]:
    """Panretinal scars outside the arcades, and the pigment in the middle of some."""

    def periphery(points: np.ndarray) -> np.ndarray:
        off_disc = anatomy.disc_distance(points) > 2.2
        return anatomy.in_field(points, 0.02) & off_disc & (np.hypot(*(points - anatomy.fovea).T) > 0.5)

    radii = rng.uniform(0.014, 0.024, count).astype(np.float32)
    centres = scatter(radii * 1.15, periphery, rng)
    pigment = rng.random(count) < 0.6
    inner = radii[pigment] * rng.uniform(0.3, 0.7, int(pigment.sum())).astype(np.float32)
    return Discs(centres, radii, edge=0.006), Discs(centres[pigment], inner, edge=0.008)


def draw_membranes(anatomy: Anatomy, count: int, rng: np.random.Generator) -> Strokes:
    """Fibrovascular sheets: overlapping broad strands from near the disc."""
    strands, points = 9, 16
    start = anatomy.disc + rng.normal(0, 0.12, (count, 1, 2)) + rng.normal(0, 0.03, (count, strands, 2))
    heading = rng.uniform(0, 2 * np.pi, (count, 1, 1)) + rng.normal(0, 0.25, (count, strands, 1))
    heading = heading + np.cumsum(rng.normal(0, 0.13, (count, strands, points)), -1)
    step = np.stack([np.cos(heading), np.sin(heading)], -1) * rng.uniform(0.015, 0.035, (count, strands, 1, 1))
    path = start[:, :, None] + np.cumsum(step, axis=2)
    width = rng.uniform(0.015, 0.05, (count, strands, 1)) * np.sin(np.linspace(0.5, 3.0, points))
    shape = (count * strands, points)
    return Strokes(path.reshape(*shape, 2).astype(np.float32), width.reshape(shape).astype(np.float32), edge=0.03)


def draw_new_vessels(anatomy: Anatomy, tufts: int, irma: int, rng: np.random.Generator) -> Strokes:
    """Fine irregular vessels: tufts at the disc or elsewhere, and single tortuous shunts (IRMA)."""
    points, number = 24, np.arange(tufts + irma)
    elsewhere = scatter(np.full(len(number), 0.05), retina(anatomy, margin=0.15), rng)
    at_disc = (rng.random(len(number)) < 0.5) & (number < tufts)
    centre = np.where(at_disc[:, None], anatomy.disc, elsewhere)
    strands = np.repeat(number, np.where(number < tufts, 14, 3))
    start = centre[strands] + rng.normal(0, 0.03, (len(strands), 2))
    heading = rng.uniform(0, 2 * np.pi, (len(strands), 1))
    heading = heading + np.cumsum(rng.normal(0, 0.55, (len(strands), points)), axis=1)
    step = np.stack([np.cos(heading), np.sin(heading)], -1) * rng.uniform(0.006, 0.013, (len(strands), 1, 1))
    radii = rng.uniform(0.0022, 0.0042, (len(strands), 1)) * np.linspace(1, 0.7, points)
    return Strokes((start[:, None] + np.cumsum(step, axis=1)).astype(np.float32), radii.astype(np.float32))


def draw_lesions(
    anatomy: Anatomy, counts: dict[str, int], rng: np.random.Generator
) -> tuple[dict[str, Discs | Strokes], tuple[int, int, int, int]]:
    """Place and shape the lesions that `counts` asks for: shapes by name, and haemorrhages in each quadrant."""
    quota = _haemorrhage_quota(counts, rng)
    preretinal, taken = draw_preretinal(anatomy, counts["preretinal"], rng)
    he, taken = _haemorrhages(anatomy, quota, taken, rng)
    laser, pigment = draw_laser(anatomy, counts["laser"], rng)
    shapes: dict[str, Discs | Strokes] = {
        "ma": _microaneurysms(anatomy, counts["ma"], taken, rng),
        "he": he,
        "ex": _exudates(anatomy, counts["ex"], rng),
        "se": _cotton_wool(anatomy, counts["se"], rng),
        "preretinal": preretinal,
        "laser": laser,
        "pigment": pigment,
        "membrane": draw_membranes(anatomy, counts["membrane"], rng),
        "new": draw_new_vessels(anatomy, counts["neovascularisation"], counts["irma"], rng),
    }
    return shapes, quota


def _haemorrhage_quota(counts: dict[str, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Haemorrhages per quadrant: 20 or more in each for the 4-2-1 rule, otherwise fewer than 20 in each."""
    if counts["four_quadrants"]:
        quota = SEVERE_PER_QUADRANT + rng.integers(0, 9, 4)
    else:
        share = rng.dirichlet(np.full(4, 3.0))
        quota = rng.multinomial(counts["he"], share).clip(max=SEVERE_PER_QUADRANT - 1)
    first, second, third, fourth = quota.tolist()
    return first, second, third, fourth


def _microaneurysms(anatomy: Anatomy, count: int, taken: np.ndarray, rng: np.random.Generator) -> Discs:
    """Single dots of at most 125 micrometres (a disc is about 1500 wide), none hidden by blood."""
    radii = rng.uniform(0.006, 0.0115, count).astype(np.float32)
    allowed = retina(anatomy, margin=0.04)
    centres = scatter(radii + 0.01, allowed, rng, taken=taken, centre=anatomy.fovea, spread=0.45)
    return Discs(centres, radii)


def _haemorrhages(
    anatomy: Anatomy, quota: tuple[int, ...], taken: np.ndarray, rng: np.random.Generator
) -> tuple[Discs, np.ndarray]:
    """Blots and flames, none touching another, so that each can be counted; also all places now taken."""
    placed = taken
    for quadrant, count in enumerate(quota):
        extents = 0.023 + 0.03 * rng.random(count) ** 2.5
        allowed = retina(anatomy, margin=0.06, quadrant=quadrant)
        centres = scatter(extents, allowed, rng, taken=placed)
        placed = np.vstack([placed, np.column_stack([centres, extents])])
    new = placed[len(taken) :]
    return _shape_haemorrhages(new[:, :2], new[:, 2] - 0.012, anatomy, rng), placed


def _shape_haemorrhages(centres: np.ndarray, half: np.ndarray, anatomy: Anatomy, rng: np.random.Generator) -> Discs:
    """Lobed blots, and flames along the nerve fibres, which run away from the disc."""
    count, parts = len(centres), 7
    away = centres - anatomy.disc
    direction = np.arctan2(away[:, 1], away[:, 0]) + rng.normal(0, 0.3, count)
    position = np.linspace(-0.75, 0.75, parts)
    along = np.stack([np.cos(direction), np.sin(direction)], -1)[:, None] * position[:, None]
    lobes = rng.normal(0, 0.22, (count, parts, 2)).clip(-0.35, 0.35)
    # The first lobe is the middle, and the parts of a flame overlap, so that each stays one lesion.
    lobes[:, 0] = 0
    flame = rng.random(count) < 0.3
    offset = np.where(flame[:, None, None], along, lobes) * half[:, None, None]
    width = np.where(flame[:, None], 0.24 * (1.2 - np.abs(position)), rng.uniform(0.3, 0.5, (count, parts)))
    radii = (width * half[:, None]).ravel().astype(np.float32)
    return Discs(flatten(centres[:, None] + offset), radii, edge=0.004)


def _exudates(anatomy: Anatomy, count: int, rng: np.random.Generator) -> Discs:
    """Deposits in clusters, some of them rings (circinate), mostly about the macula."""
    clusters = 1 + int(count > 12) * int(rng.integers(1, 5))
    which = rng.integers(0, clusters, count)
    allowed = retina(anatomy, margin=0.12)
    centre = scatter(np.zeros(clusters), allowed, rng, centre=anatomy.fovea, spread=0.33)[which]
    angle, spread = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.04, 0.12, clusters)[which]
    circle = 1.5 * np.stack([np.cos(angle), np.sin(angle)], -1) + rng.normal(0, 0.2, (count, 2))
    ring = rng.random(clusters) < 0.4
    offset = np.where(ring[which, None], circle, rng.normal(0, 1, (count, 2))) * spread[:, None]
    # A deposit that would lie on the disc or out of the photograph joins the middle of its cluster.
    outside = ~retina(anatomy, margin=0.05)(centre + offset)
    offset[outside] *= 0.1
    half = (0.0055 * np.exp(rng.normal(0, 0.6, count))).clip(0.0025, 0.025)
    parts = rng.normal(0, 0.6, (count, 4, 2)).clip(-1.2, 1.2) * half[:, None, None]
    radii = np.repeat(half, 4) * rng.uniform(0.4, 1, count * 4)
    return Discs(flatten((centre + offset)[:, None] + parts), radii.astype(np.float32))


def _cotton_wool(anatomy: Anatomy, count: int, rng: np.random.Generator) -> Discs:
    """Soft exudates: fuzzy patches about the disc and the arcades."""
    half = rng.uniform(0.025, 0.05, count)
    allowed = retina(anatomy, margin=0.1)
    centres = scatter(half * 1.6, allowed, rng, centre=anatomy.disc, spread=0.5)
    offset = rng.normal(0, 0.5, (count, 5, 2)).clip(-1.1, 1.1) * half[:, None, None]
    radii = np.repeat(half, 5) * rng.uniform(0.4, 0.8, count * 5)
    return Discs(flatten(centres[:, None] + offset), radii.astype(np.float32), edge=0.03)
