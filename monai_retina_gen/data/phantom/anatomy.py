"""The healthy eye of a phantom: where disc and fovea lie, its colours, its ground, and its vessels.

Vessels are arcades from the disc and three generations of branches. Each is a curve whose heading turns from a start to
an end direction, with some tortuosity; at each branch its calibre falls by Murray's law (the cubes of the radii add up;
Murray, PNAS 12 (1926) 207-214). All vessels of one generation are drawn at once, as arrays (vessels, points).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from monai_retina_gen.data.eye_geometry import quadrants

from .drawing import Array, Strokes, distance_field, noise_field, pixel_grid

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
        """Quadrant about the fovea of each point (N, 2), a number in `eye_geometry.QUADRANTS`."""
        return quadrants((points - self.fovea) * np.array([self.temporal, 1]))


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
    vessels = Strokes(path.astype(np.float32), width.astype(np.float32), edge=0.025).coverage(size)
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
    stems = {"start": start, "angles": angles, "turn": table[:, 2], "radius": calibre, "veins": veins}
    return _grow(anatomy, rng, TRUNK_POINTS, length=table[:, 3] * rng.uniform(0.9, 1.15, count), **stems)


def _grow(
    anatomy: Anatomy,
    rng: np.random.Generator,
    points: int,
    *,
    start: np.ndarray,
    angles: np.ndarray,
    turn: np.ndarray,
    length: np.ndarray,
    radius: np.ndarray,
    veins: np.ndarray,
) -> Vessels:
    """Integrate headings into curves of so many points.

    Headings turn from the first to the second of `angles` (V, 2) over `turn` of the `length`; `radius` is at the start.
    """
    along = np.linspace(0, 1, points) * length[:, None]
    first, last = angles[:, :1], angles[:, 1:]
    heading = last + (first - last) * np.exp(-((along / turn[:, None]) ** 1.5))
    for wavelength, amplitude in TORTUOSITY:
        phase = 2 * np.pi * (along / wavelength + rng.random((len(along), 1)))
        heading += amplitude * rng.uniform(0.3, 1.2, (len(along), 1)) * np.sin(phase)
    step = np.stack([np.cos(heading) * anatomy.temporal, -np.sin(heading)], -1)
    step *= (length / (points - 1))[:, None, None]
    path = start[:, None] + np.cumsum(step, axis=1) - step[:, :1]
    radii = radius[:, None] * (1 - 0.3 * np.linspace(0, 1, points))
    return _end_early(Vessels(path.astype(np.float32), radii.astype(np.float32), heading, veins), anatomy)


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
    stems = {"start": start[grows], "angles": angles[grows], "radius": radius[grows], "veins": veins[grows]}
    return thinned, _grow(anatomy, rng, points, turn=0.3 * length, length=length, **stems)


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
        strokes = Strokes(vessels.points[chosen], vessels.radii[chosen]).coverage(size)
        np.maximum(cover, strokes, out=cover)
        np.maximum(blood, strokes * FINE_VESSEL_BLOOD**depth, out=blood)
    return cover, blood


def reflex_coverage(trunks: Vessels, size: int) -> Array:
    """Coverage (size, size) of the light reflex along the middle of the large arteries."""
    return Strokes(trunks.points[~trunks.veins], trunks.radii[~trunks.veins] * 0.35).coverage(size)
