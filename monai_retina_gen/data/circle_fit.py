"""Robust fit of a circle to boundary points, some of which belong to something else.

Random sample consensus (Fischler and Bolles, 1981) with fixed draws finds the circle through most points; iteratively
reweighted Gauss-Newton steps on the geometric distance with Tukey's biweight then settle it below a pixel.
"""

from __future__ import annotations

import numpy as np

__all__ = ["fit_circle"]

_TRIALS = 200
_POINTS = 150  # enough for the consensus; the refinement uses all
_STEPS = 20


def fit_circle(
    points: np.ndarray, *, tolerance: float, max_radius: float, start: tuple[float, float, float] | None = None
) -> tuple[float, float, float] | None:
    """Circle through most of the points.

    Args:
        points: (N, 2) of y and x.
        tolerance: distance up to which a point counts as lying on the circle, in the unit of the points.
        max_radius: larger circles (straight lines, in the limit) are not considered.
        start: a circle within about `tolerance` of the right one; spares the search for one.

    Returns:
        Centre y, centre x and radius, or None where no three points define such a circle. Deterministic.

    Examples:
        >>> import numpy as np
        >>> angle = np.linspace(0, 5, 40)
        >>> points = np.stack([3 + 2 * np.sin(angle), 4 + 2 * np.cos(angle)], axis=1)
        >>> points[:5] = 0  # not on the circle
        >>> circle = fit_circle(points, tolerance=0.1, max_radius=9)
        >>> [round(value, 6) for value in circle]
        [3.0, 4.0, 2.0]
    """
    if len(points) < 3:
        return None
    circle = np.array(start) if start else _consensus(points, tolerance, max_radius)
    if circle is None:
        return None
    centre_y, centre_x, radius = _refine(points, circle, tolerance)
    return (centre_y, centre_x, radius) if 0 < radius <= max_radius else None


def _consensus(points: np.ndarray, tolerance: float, max_radius: float) -> np.ndarray | None:
    points = points[:: max(1, len(points) // _POINTS)]
    picks = np.random.default_rng(0).integers(len(points), size=(_TRIALS, 3))
    circles = _through_three(points[picks])
    circles = circles[np.isfinite(circles).all(axis=1) & (circles[:, 2] <= max_radius)]
    if not len(circles):
        return None
    distance = np.hypot(points[:, 0] - circles[:, :1], points[:, 1] - circles[:, 1:2]) - circles[:, 2:]
    best: np.ndarray = circles[np.count_nonzero(np.abs(distance) < tolerance, axis=1).argmax()]
    return best


def _through_three(triples: np.ndarray) -> np.ndarray:
    """Circumcircles (N, 3) of triangles (N, 3, 2); not finite where the three points lie on a line."""
    origin = triples[:, 0]
    (ay, ax), (by, bx) = (triples[:, 1] - origin).T, (triples[:, 2] - origin).T
    a2, b2 = ay**2 + ax**2, by**2 + bx**2
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 0.5 / (ax * by - ay * bx)
        y, x = (ax * b2 - bx * a2) * scale, (by * a2 - ay * b2) * scale
    return np.stack([origin[:, 0] + y, origin[:, 1] + x, np.hypot(y, x)], axis=1)


def _refine(points: np.ndarray, circle: np.ndarray, tolerance: float) -> tuple[float, float, float]:
    for _ in range(_STEPS):
        offset = points - circle[:2]
        distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
        residual = distance - circle[2]
        weight = np.clip(1 - (residual / (2 * tolerance)) ** 2, 0, None)  # root of Tukey's biweight
        jacobian = np.column_stack([offset / distance[:, None], np.ones(len(points))])
        step = np.linalg.lstsq(jacobian * weight[:, None], residual * weight, rcond=None)[0]
        circle = circle + step
        if np.abs(step).max() < 1e-4:
            break
    return float(circle[0]), float(circle[1]), float(circle[2])
