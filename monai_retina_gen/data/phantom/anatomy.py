"""The healthy eye of a phantom: which eye it is, where disc and fovea lie, its colours and its photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .drawing import Array, distance_field, pixel_grid

__all__ = ["Anatomy", "draw_anatomy", "field_of_view"]

# Mean and covariance of the mean colour of IDRiD's training photographs inside the field of view.
COLOUR_MEAN = np.array([0.593, 0.281, 0.080])
COLOUR_DEVIATION = np.array([0.109, 0.077, 0.065])
COLOUR_CORRELATION = np.array([[1.0, 0.87, 0.27], [0.87, 1.0, 0.57], [0.27, 0.57, 1.0]])


@dataclass(frozen=True)
class Anatomy:
    """Where things lie (unit coordinates: the field of view has radius 1) and how the picture is taken."""

    temporal: int
    """Direction of the macula as seen from the disc: +1 right, -1 left."""
    disc: Array
    disc_radii: tuple[float, float]
    cup: float
    fovea: Array
    colour: Array
    vertical_limit: float
    """Height at which the camera's mask cuts the circle at top and bottom; above 1, a full circle."""
    field_radius: float

    def in_field(self, points: Array, margin: float) -> np.ndarray:
        """Which of the points (N, 2) lie inside the field of view by at least `margin`."""
        inside = np.hypot(points[:, 0], points[:, 1]) < self.field_radius - margin
        return inside & (np.abs(points[:, 1]) < self.vertical_limit - margin)

    def disc_distance(self, points: Array) -> np.ndarray:
        """Distance of the points (N, 2) from the disc's centre in disc radii."""
        return np.hypot(*((points - self.disc) / np.array(self.disc_radii)).T)

    def quadrants(self, points: Array) -> np.ndarray:
        """Quadrant about the fovea of each point (N, 2).

        0 superior temporal, 1 superior nasal, 2 inferior temporal, 3 inferior nasal.
        """
        nasal = (points[:, 0] - self.fovea[0]) * self.temporal < 0
        return 2 * (points[:, 1] > self.fovea[1]) + nasal


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a healthy eye."""
    temporal = int(rng.choice([-1, 1]))
    disc = np.array([-temporal * rng.uniform(0.44, 0.7), rng.normal(-0.03, 0.08)], np.float32)
    fovea = disc + np.array([temporal * rng.uniform(0.7, 0.8), rng.normal(0.08, 0.03)], np.float32)
    radius = rng.uniform(0.12, 0.15)
    full = rng.random() < 0.15
    return Anatomy(
        temporal=temporal,
        disc=disc,
        disc_radii=(radius * rng.uniform(0.88, 0.98), radius * rng.uniform(1.0, 1.08)),
        cup=rng.uniform(0.3, 0.6),
        fovea=fovea.astype(np.float32),
        colour=_draw_colour(rng),
        vertical_limit=2.0 if full else rng.uniform(0.82, 0.85),
        field_radius=rng.uniform(0.975, 0.99),
    )


def _draw_colour(rng: np.random.Generator) -> Array:
    covariance = COLOUR_CORRELATION * np.outer(COLOUR_DEVIATION, COLOUR_DEVIATION)
    spread = np.linalg.cholesky(covariance) @ np.clip(rng.standard_normal(3), -2, 2)
    return np.clip(COLOUR_MEAN + spread, [0.25, 0.1, 0.015], 1).astype(np.float32)


def field_of_view(anatomy: Anatomy, size: int) -> Array:
    """Fraction of each pixel inside the field of view (size, size)."""
    _, y = pixel_grid(size)
    circle = anatomy.field_radius - distance_field(size, (0, 0))
    distance = np.minimum(circle, anatomy.vertical_limit - np.abs(y))
    return np.clip(0.5 + distance * (size / 2), 0, 1)
