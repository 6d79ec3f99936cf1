"""From anatomy, vessels and lesions to the photograph of a phantom: light, absorption and the camera."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .anatomy import PALEST, Anatomy, blend, disc_profile, draw_background, draw_optic_disc, field_of_view
from .drawing import Array, distance_field, noise_field, pixel_grid
from .lesions import Lesions
from .vessels import Vessels, reflex_coverage, vessel_coverage

# Share of red, green and blue light that is lost where a structure covers the pixel (Beer-Lambert exponents).
ABSORPTION = {
    "vein": (0.25, 0.68, 0.85),
    "artery": (0.06, 0.45, 0.6),
    "he": (0.42, 0.8, 0.6),
    "ma": (0.3, 0.7, 0.5),
    "new": (0.06, 0.42, 0.4),
    "pigment": (0.6, 0.85, 0.9),
}


def render_phantom(
    anatomy: Anatomy, vessels: list[Vessels], lesions: Lesions, size: int, rng: np.random.Generator
) -> tuple[Array, dict[str, Array]]:
    """Render one eye: image (3, size, size) in [0, 1] and masks (size, size) in [0, 1] by name."""
    covers = _coverages(anatomy, vessels, lesions, size)
    image = draw_background(anatomy, size, rng)
    blend(image, covers["laser"] * 0.65, _pale(anatomy, 0.85))
    _absorb(image, covers["pigment"], "pigment")
    draw_optic_disc(image, anatomy, size, rng)
    blend(image, covers["ex"] * 0.85, _exudate_colour(anatomy))
    contrast = rng.uniform(0.55, 1.05)
    for name in ("artery", "vein", "ma", "he", "new"):
        _absorb(image, covers[name] * contrast, name)
    image += (covers["reflex"] * 0.1) * anatomy.colour[:, None, None]
    blend(image, covers["se"] * 0.6, _pale(anatomy, 1.0))
    sheet = (0.6 + 0.15 * noise_field(rng, 20, size)).clip(0.2, 0.9)
    blend(image, covers["membrane"] * sheet, _pale(anatomy, 0.9))
    _absorb(image, covers["preretinal"] * 1.1, "he")
    image = _photograph(image, anatomy, covers["fov"], rng)
    return image, _masks(covers)


def _coverages(anatomy: Anatomy, vessels: list[Vessels], lesions: Lesions, size: int) -> dict[str, Array]:
    artery, arterial_blood = vessel_coverage(vessels, False, size)
    vein, venous_blood = vessel_coverage(vessels, True, size)
    covers = {
        "vessel": np.maximum(artery, vein),
        "artery": arterial_blood,
        "vein": venous_blood,
        "reflex": reflex_coverage(vessels[0], size),
        "new": lesions.new_vessels.coverage(size),
        "pigment": lesions.pigment.coverage(size),
        "od": disc_profile(anatomy, size, 1.0, 0.08),
        "fov": field_of_view(anatomy, size),
    }
    for name in ("ma", "he", "ex", "se", "preretinal", "laser", "membrane"):
        covers[name] = getattr(lesions, name).coverage(size)
    return covers


def _masks(covers: dict[str, Array]) -> dict[str, Array]:
    """Masks as an annotator would draw them, cut at the field of view."""
    fov = covers["fov"]
    masks = {name: np.minimum(covers[name], fov) for name in ("ma", "ex", "se", "od", "laser", "membrane")}
    masks["he"] = np.minimum(np.maximum(covers["he"], covers["preretinal"]), fov)
    vessel = np.maximum(covers["vessel"], covers["new"])
    return {**masks, "vessel": np.minimum(vessel, fov), "fov": fov}


def _absorb(image: Array, cover: Array, name: str) -> None:
    """Weaken the light where blood or pigment covers the pixel, in place."""
    if cover.any():
        for channel, strength in enumerate(ABSORPTION[name]):
            image[channel] *= np.exp(-strength * cover)


def _pale(anatomy: Anatomy, brightness: float) -> Array:
    """Whitish tissue under this eye's light."""
    colour = np.array([1.25, 1.9, 2.6]) * anatomy.colour + 0.1
    return (brightness * colour.clip(0, PALEST)).astype(np.float32)


def _exudate_colour(anatomy: Anatomy) -> Array:
    colour = np.array([1.2, 1.9, 1.8]) * anatomy.colour + np.array([0.2, 0.2, 0.03])
    return colour.clip(0, 1).astype(np.float32)


def _photograph(image: Array, anatomy: Anatomy, fov: Array, rng: np.random.Generator) -> Array:
    """The camera: blur, veil, fall-off towards the rim, mask and noise."""
    size = image.shape[-1]
    blur = rng.uniform(0.003, 0.008) * size / 2
    for axis in (1, 2):
        image = gaussian_filter1d(image, blur, axis=axis, truncate=2.5, mode="nearest")
    veil = rng.beta(1, 6)
    image += veil * 0.4 * (anatomy.colour[:, None, None] * 1.05 - image)
    radius = distance_field(size, (0, 0))
    image *= 1 - rng.uniform(0.15, 0.55) * radius**3
    if rng.random() < 0.3:
        blend(image, _rim_haze(radius, rng), _pale(anatomy, 0.75) + np.float32(0.06))
    image += rng.normal(0, 0.006, (3, 1, 1)).clip(-0.01, 0.01)
    image += 0.004 * rng.standard_normal(image.shape, dtype=np.float32)
    image *= fov
    return np.clip(image, 0, 1, out=image).astype(np.float32)


def _rim_haze(radius: Array, rng: np.random.Generator) -> Array:
    """Light scattered at the pupil's edge: a pale crescent on one side of the photograph."""
    x, y = pixel_grid(len(radius))
    angle = rng.uniform(0, 2 * np.pi)
    depth = radius + 0.3 * (x * math.cos(angle) + y * math.sin(angle)) - 1.15
    return rng.uniform(0.2, 0.7) / (1 + np.exp(-depth / 0.05))
