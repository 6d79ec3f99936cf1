"""The healthy eye of a phantom: where disc and fovea lie, its colours, and its ground without vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .drawing import Array, distance_field, noise_field, pixel_grid, stroke_coverage

# Mean and covariance of the mean colour of IDRiD's training photographs inside the field of view.
COLOUR_MEAN = np.array([0.593, 0.281, 0.080])
COLOUR_DEVIATION = np.array([0.109, 0.077, 0.065])
COLOUR_CORRELATION = np.array([[1.0, 0.87, 0.27], [0.87, 1.0, 0.57], [0.27, 0.57, 1.0]])
PALEST = (1.0, 0.86, 0.65)
"""Colour of white tissue at the brightest: the media of the eye swallow blue light."""

# Per channel: darkening by the macula and by the fovea (Beer-Lambert exponents), contrast of the choroid.
MACULA = ((0.16, 0.16, 0.7), (0.2, 0.26, 1.0), (0.1, 0.2, 0.6))


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


def blend(image: Array, cover: Array, colour: Array) -> None:
    """Lay an opaque colour (3,) over the image (3, H, W), in place, where `cover` (H, W) says."""
    for channel in range(3):
        image[channel] += cover * (colour[channel] - image[channel])


def draw_background(anatomy: Anatomy, size: int, rng: np.random.Generator) -> Array:
    """Draw the retina without disc, vessels and lesions: an image (3, size, size)."""
    light = _light(anatomy, size, rng)
    hue = 0.04 * noise_field(rng, 4, size)
    choroid = _choroid(size, rng)
    fovea = distance_field(size, anatomy.fovea, (1.0, 0.9))
    wide, narrow = np.exp(-((fovea / 0.24) ** 2)), np.exp(-((fovea / 0.075) ** 2))
    depth = rng.uniform(0.6, 1.3)
    image = np.empty((3, size, size), np.float32)
    for channel, (dark, deep, contrast) in enumerate(MACULA):
        macula = np.exp(-depth * (dark * wide + deep * narrow))
        image[channel] = anatomy.colour[channel] * (light + contrast * choroid + hue * channel) * macula
    return image


def _light(anatomy: Anatomy, size: int, rng: np.random.Generator) -> Array:
    """Uneven illumination, brighter about the disc where the nerve fibres reflect."""
    x, y = pixel_grid(size)
    tilt = rng.normal(0, 0.17, 2).tolist()
    disc = distance_field(size, anatomy.disc)
    light = 1.15 + 0.08 * noise_field(rng, 3, size) + 0.03 * noise_field(rng, 8, size)
    light += 0.012 * noise_field(rng, 50, size)
    return light + tilt[0] * x + tilt[1] * y + rng.uniform(0.05, 0.25) * np.exp(-((disc / 0.4) ** 2))


def _choroid(size: int, rng: np.random.Generator) -> Array:
    """Mottling of the pigment; in some eyes the broad choroidal vessels show through."""
    mottle = rng.uniform(0.01, 0.035) * noise_field(rng, 22, size)
    if rng.random() < 0.8:
        return mottle
    count, points = 70, 20
    heading = rng.uniform(0, 2 * np.pi, (count, 1)) + np.cumsum(rng.normal(0, 0.25, (count, points)), axis=1)
    step = 0.05 * np.stack([np.cos(heading), np.sin(heading)], -1)
    path = rng.uniform(-1, 1, (count, 1, 2)) + np.cumsum(step, axis=1)
    width = np.broadcast_to(rng.uniform(0.008, 0.02, (count, 1)), (count, points))
    vessels = stroke_coverage(path.astype(np.float32), width.astype(np.float32), size, edge=0.025)
    return mottle + rng.uniform(0.05, 0.22) * (vessels - 0.4) * (0.75 + 0.4 * noise_field(rng, 3, size))


def disc_profile(anatomy: Anatomy, size: int, scale: float, softness: float) -> Array:
    """Coverage of the optic disc, or of its cup at a smaller `scale`; softness in disc radii."""
    radius = distance_field(size, anatomy.disc, anatomy.disc_radii)
    pixel = 2 / size / anatomy.disc_radii[0]
    return np.clip(0.5 + (scale - radius) / (softness + pixel), 0, 1)


def draw_optic_disc(image: Array, anatomy: Anatomy, size: int, rng: np.random.Generator) -> None:
    """Draw the disc's halo, rim and cup, in place."""
    rim = (anatomy.colour * np.array([1.35, 2.0, 2.5]) + np.array([0.2, 0.12, 0.02])).clip(0, 0.98)
    cup = (anatomy.colour * np.array([1.4, 2.3, 3.5]) + np.array([0.25, 0.26, 0.12])).clip(0, PALEST)
    mottle = 1 + 0.05 * noise_field(rng, 24, size)
    blend(image, disc_profile(anatomy, size, 1.4, 0.9) * 0.12, rim)
    blend(image, disc_profile(anatomy, size, 1.0, 0.14) * mottle * 0.9, rim)
    blend(image, disc_profile(anatomy, size, anatomy.cup, 0.5) * mottle * rng.uniform(0.4, 0.95), cup)
