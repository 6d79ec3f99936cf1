"""Where lesions may lie: scattering over the retina, clear of each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .anatomy import Anatomy
from .drawing import Array

__all__ = ["Allowed", "flatten", "retina", "scatter"]

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
    """Place lesions one by one where `allowed` and clear of each other.

    Args:
        extents: half-size of each lesion (N,).
        allowed: which points may be a centre.
        rng: source of the candidates: uniform over the square, or normal about `centre`.
        taken: places already occupied, rows (x, y, half-size).
        centre: middle of the normal distribution.
        spread: its standard deviation.

    Returns:
        Centres (N, 2).
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
