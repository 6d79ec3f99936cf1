"""Proliferative retinopathy and its treatment: new vessels, preretinal blood, membranes, laser scars."""

from __future__ import annotations

import numpy as np

from .anatomy import Anatomy
from .drawing import Discs, Strokes
from .scatter import flatten, retina, scatter

__all__ = ["draw_laser", "draw_membranes", "draw_new_vessels", "draw_preretinal"]


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
