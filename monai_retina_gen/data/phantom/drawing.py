"""Drawing in unit coordinates: soft discs, strokes and smooth noise on a square grid of any size.

The field of view is the circle of radius 1 about (0, 0); x points right and y down. All that a phantom
shows are unions of discs and strokes. Their coverage of each pixel is computed directly, so that a mask is the
fraction covered at every size, with little or no oversampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
FINEST = 256  # width in pixels at which discs are drawn at least; smaller masks are means of it
SEGMENT = 2.0  # longest piece of a stroke in pixels that is drawn at once


@lru_cache(maxsize=8)
def pixel_grid(size: int) -> tuple[Array, Array]:
    """Unit coordinates of the pixel centres: x of shape (1, size) and y of shape (size, 1)."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    return axis[None, :], axis[:, None]


def distance_field(size: int, centre: Array | tuple[float, float], radii: tuple[float, float] = (1.0, 1.0)) -> Array:
    """Distance (size, size) of the pixels from `centre`, in units of the radii along x and y."""
    x, y = pixel_grid(size)
    across, down = (x - np.float32(centre[0])) / radii[0], (y - np.float32(centre[1])) / radii[1]
    # Not np.hypot, which guards against overflow and takes four times as long.
    return np.sqrt(across**2 + down**2)


@dataclass(frozen=True)
class Discs:
    """A union of discs in unit lengths: centres (N, 2), radii (N,), none where zero.

    The rim of each fades over `edge`, beside the pixel's own width.
    """

    centres: Array
    radii: Array
    edge: float = 0.0

    def coverage(self, size: int) -> Array:
        """Fraction (size, size) of each pixel covered."""
        scale = size * _oversampling(size) / 2
        fade, still = 1 + self.edge * scale, np.zeros_like(self.centres)
        drawn, opacity = _disc_width(self.radii * scale, self.edge * scale)
        return _draw(self.centres, still, drawn, np.where(self.radii > 0, opacity, 0), size, fade)


@dataclass(frozen=True)
class Strokes:
    """A union of strokes in unit lengths: points (V, N, 2) along each, half its width (V, N), zero where it has ended.

    The sides fade over `edge`, beside the pixel's own width.
    """

    points: Array
    radii: Array
    edge: float = 0.0

    def coverage(self, size: int) -> Array:
        """Fraction (size, size) of each pixel covered."""
        if not self.points.size:
            return np.zeros((size, size), np.float32)
        scale = size * _oversampling(size) / 2
        longest = np.abs(np.diff(self.points, axis=1)).max() * scale
        steps = max(1, int(np.ceil(longest / SEGMENT)))
        middle = ((np.arange(steps, dtype=np.float32) + 0.5) / steps)[:, None]
        step = np.diff(self.points, axis=1)[:, :, None]
        centres = self.points[:, :-1, None] + step * middle
        half = np.broadcast_to(step / (2 * steps), centres.shape)
        first, last = self.radii[:, :-1, None], self.radii[:, 1:, None]
        width = np.where((first > 0) & (last > 0), first + (last - first) * middle[:, 0], 0).ravel() * scale
        # No stroke is drawn narrower than a pixel; a finer one is fainter instead.
        drawn, fade = np.maximum(width, 0.5), 1 + self.edge * scale
        return _draw(centres.reshape(-1, 2), half.reshape(-1, 2), drawn, width / drawn, size, fade)


def _oversampling(size: int) -> int:
    """Finer pixels a side where parts of one lesion would be smaller than a pixel: their maximum is no sum."""
    return -(-FINEST // size)


def _disc_width(radius: Array, edge: float) -> tuple[Array, Array]:
    """Radius and opacity to draw, in pixels, so that the area does not depend on the size of the pixels.

    A disc whose rim fades over f pixels covers pi (r^2 + f^2 / 12): what the pixel's own width adds is taken off.
    """
    excess = (1 + 2 * edge) / 12
    drawn = np.sqrt(np.maximum(radius**2 - excess, 0.25))
    return drawn, np.minimum(radius**2 / (0.25 + excess), 1)


def _draw(centres: Array, half: Array, radii: Array, opacity: Array, size: int, fade: float) -> Array:
    """Coverage by capsules: all points within `radii` pixels of the segments `centres` ± `half` (unit)."""
    factor = _oversampling(size)
    fine = size * factor
    position = (centres + 1.0) * (fine / 2) - 0.5
    keep = (opacity > 0) & (position > -0.5).all(axis=1) & (position < fine - 0.5).all(axis=1)
    if not keep.any():
        return np.zeros((size, size), np.float32)
    half = half[keep] * (fine / 2)
    reach = np.ceil(radii[keep] + fade / 2 + np.abs(half).max(axis=1)).astype(np.int64)
    capsules = np.column_stack([position[keep], half, radii[keep], opacity[keep]]).astype(np.float32)
    pad = int(reach.max())
    canvas = np.zeros((fine + 2 * pad, fine + 2 * pad), np.float32)
    for step in np.unique(reach):
        _stamp(canvas, pad, capsules[reach == step], int(step), fade)
    return _block_mean(canvas[pad : pad + fine, pad : pad + fine], factor)


def _stamp(canvas: Array, pad: int, capsules: Array, reach: int, fade: float) -> None:
    """Draw capsules that all fit into patches of `2 * reach + 1` pixels; the canvas keeps the maximum."""
    x, y, half_x, half_y, radius, opacity = capsules.T[:, :, None, None]
    offset = np.arange(-reach, reach + 1, dtype=np.float32)
    column, row = np.rint(x), np.rint(y)
    across, down = column - x + offset, row - y + offset[:, None]
    length = half_x**2 + half_y**2
    if length.any():
        nearest = ((across * half_x + down * half_y) / np.maximum(length, 1e-12)).clip(-1, 1)
        across, down = across - nearest * half_x, down - nearest * half_y
    # The outline at `radius` lies half-way through the fade.
    cover = ((0.5 + radius / fade - np.sqrt(across**2 + down**2) / fade).clip(0, 1)) * opacity
    index = (row.astype(np.int64) + pad) * len(canvas) + column.astype(np.int64) + pad
    index = index + (np.arange(-reach, reach + 1)[:, None] * len(canvas) + np.arange(-reach, reach + 1))
    np.maximum.at(canvas.reshape(-1), index.ravel(), cover.ravel())


def _block_mean(canvas: Array, factor: int) -> Array:
    """Mean over blocks of `factor` by `factor` pixels; by slices, since a mean over short axes is slow."""
    total = np.add.reduce([canvas[row::factor] for row in range(factor)])
    return np.add.reduce([total[:, column::factor] for column in range(factor)]) / factor**2


@lru_cache(maxsize=64)
def _interpolation(cells: int, size: int) -> Array:
    """Matrix (size, cells + 3) of the uniform cubic B-spline that spreads `cells` intervals over `size`."""
    position = (np.arange(size) + 0.5) * cells / size
    cell = np.floor(position).astype(np.int64)
    t = position - cell
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    matrix = np.zeros((size, cells + 3), np.float32)
    np.put_along_axis(matrix, cell[:, None] + np.arange(4), weights.astype(np.float32), axis=1)
    return matrix


def noise_field(rng: np.random.Generator, cells: int, size: int) -> Array:
    """Smooth noise (size, size) of about unit variance with `cells` bumps a side, the same at every size."""
    values = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    spread = _interpolation(cells, size)
    return 2.1 * (spread @ values @ spread.T)
