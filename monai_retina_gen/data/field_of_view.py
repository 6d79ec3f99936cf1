"""Finding the circle in which a fundus photograph shows the retina.

The ground around the retina is known from the corners of the frame; what differs from it, as one piece, is the
retina; a circle is fitted to the edge of that piece, robustly, since tops, bottoms and sides are often clipped
and many cameras leave a notch on the rim. All this happens on a reduced picture; the edge is then located below
a pixel along the normals of the circle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from monai_retina_gen.data.circle_fit import fit_circle
from monai_retina_gen.errors import ImageValueError

__all__ = ["FieldOfView", "find_field_of_view"]

Circle = tuple[float, float, float]
_SEARCH_SIZE = 256  # longer side of the reduced picture
_CORNER = 0.04  # side of a corner patch, as a share of the shorter side of the frame
_MIN_CONTRAST = 0.04  # distance in RGB between retina and ground
_LEVELS = (0.08, 0.16, 0.32)  # thresholds to try, as shares of the retina's contrast: dim rims against glowing grounds
_MIN_RADIUS = 0.12  # of the shorter side: below the radius of an optic disc in a magnified frame
_WARM = 0.06  # red minus blue of anything lit by retina; grounds are black, white or grey
_DARK = 0.1  # grounds up to this value count as black
_BINS = 120  # of the circumference, for measuring how much of the circle has an edge


@dataclass(frozen=True)
class FieldOfView:
    """The circle of the retina in a photograph.

    Coordinates are in pixels, with (0, 0) the upper left corner of the upper left pixel, so that a circle inscribed
    in an N x N picture has centre (N / 2, N / 2) and radius N / 2.

    Attributes:
        centre_y: row of the centre.
        centre_x: column of the centre.
        radius: radius of the circle.
        height: height of the photograph.
        width: width of the photograph.
        dark_ground: whether what surrounds the retina is (nearly) black; True where nothing surrounds it.
        border_visible: False where the retina fills the whole frame; the circle then is the one through the
            frame's corners, the smallest that is sure to hold every pixel.
    """

    centre_y: float
    centre_x: float
    radius: float
    height: int
    width: int
    dark_ground: bool = True
    border_visible: bool = True

    def box(self, margin: float = 0.0) -> tuple[int, int, int, int]:
        """Square around the circle as top, left, height and width; it may reach outside the photograph.

        Where the border is not visible it is the square around the frame.

        Args:
            margin: widens the square on every side by this share of the radius.
        """
        half = self.radius if self.border_visible else max(self.height, self.width) / 2
        side = max(1, round(2 * half * (1 + margin)))
        return round(self.centre_y - side / 2), round(self.centre_x - side / 2), side, side


def find_field_of_view(image: torch.Tensor) -> FieldOfView:
    """Find the retina's circle in a photograph.

    Finds it on black, white and grey ground with noise, clipped at the top, bottom or sides, with a notch on the rim
    or writing in a corner. A retina that fills the frame is told by its colour, see `FieldOfView.border_visible`.
    Deterministic.

    Args:
        image: (3, H, W), RGB, floating point in [0, 1], at least 16 x 16 pixels.

    Returns:
        The circle in pixels of the image.

    Raises:
        ImageValueError: too small, or no retina found (a black, constant or noise image).

    Examples:
        >>> import torch
        >>> y, x = torch.meshgrid(torch.arange(96) - 39.5, torch.arange(128) - 69.5, indexing="ij")
        >>> image = torch.where(y**2 + x**2 < 36**2, 0.5, 0.0) * torch.tensor([1.0, 0.6, 0.3]).view(3, 1, 1)
        >>> circle = find_field_of_view(image)
        >>> round(circle.centre_y), round(circle.centre_x), round(circle.radius), circle.dark_ground
        (40, 70, 36, True)
    """
    height, width = image.shape[-2:]
    if image.ndim != 3 or image.shape[0] != 3 or min(height, width) < 16:
        raise ImageValueError(f"image: shape {tuple(image.shape)} came, wanted (3, H, W) with H, W of at least 16")
    small = _reduce(image)
    found = [item for ground in _ground_colours(small) for item in _circles_on_ground(small, ground)]
    best = max(found, key=lambda item: item[0], default=None)
    if best is None:
        return _whole_frame(small, height, width)
    _, (centre_y, centre_x, radius), ground = best
    scale_y, scale_x = height / small.shape[0], width / small.shape[1]
    return FieldOfView(
        centre_y=centre_y * scale_y,
        centre_x=centre_x * scale_x,
        radius=radius * math.sqrt(scale_y * scale_x),
        height=height,
        width=width,
        dark_ground=bool(ground.max() <= _DARK),
    )


def _reduce(image: torch.Tensor) -> np.ndarray:
    """The picture as (h, w, 3) with the longer side at most `_SEARCH_SIZE`."""
    height, width = image.shape[1:]
    scale = min(1.0, _SEARCH_SIZE / max(height, width))
    size = (max(16, round(height * scale)), max(16, round(width * scale)))
    plain = image.detach().as_subclass(torch.Tensor).cpu().float()
    small: np.ndarray = F.interpolate(plain[None], size=size, mode="area")[0].permute(1, 2, 0).numpy()
    return small


def _ground_colours(small: np.ndarray) -> list[np.ndarray]:
    """Distinct colours of the corners that may be ground: everything that is not lit by retina."""
    corners = [np.median(patch, axis=(0, 1)) for patch in _corners(small)]
    colours: list[np.ndarray] = []
    for colour in [np.median(corners, axis=0), *corners]:
        warm = colour[0] - colour[2] > _WARM and colour[0] >= colour[1] >= colour[2]
        if not warm and all(np.abs(colour - other).max() > _MIN_CONTRAST for other in colours):
            colours.append(colour)
    return colours


def _circles_on_ground(small: np.ndarray, ground: np.ndarray) -> list[tuple[float, Circle, np.ndarray]]:
    """Score, circle and ground colour, where what differs from this ground is shaped like a retina."""
    contrast = ndimage.uniform_filter(np.linalg.norm(small - ground, axis=2), 3)
    noise, bright = _noise_level(contrast), float(np.quantile(contrast, 0.9))
    corners = [np.median(patch, axis=(0, 1)) for patch in _corners(small)]
    # Writing in one corner must not outvote the ground in the others.
    agreement = 0.5 + np.mean([np.abs(corner - ground).max() <= _MIN_CONTRAST for corner in corners]) / 2
    thresholds = {max(noise, _MIN_CONTRAST, level * bright) for level in _LEVELS}
    circles = (_circle_above(contrast, threshold) for threshold in sorted(thresholds))
    return [(score * agreement, circle, ground) for score, circle in filter(None, circles)]


def _circle_above(contrast: np.ndarray, threshold: float) -> tuple[float, Circle] | None:
    piece = _largest_piece(contrast > threshold)
    if piece is None:
        return None
    limit = float(max(piece.shape))
    circle = fit_circle(_edge_points(piece), tolerance=1.5, max_radius=limit)
    if circle is None:
        return None
    circle = fit_circle(_sharp_edge(contrast, circle), tolerance=1.5, max_radius=limit, start=circle) or circle
    score = _score(piece, circle)
    return None if score is None else (score, circle)


def _noise_level(contrast: np.ndarray) -> float:
    """Contrast that the ground itself reaches by noise, from the quietest corner."""
    quiet = min(_corners(contrast), key=np.median)
    return float(np.median(quiet) + 6 * np.std(quiet))


def _corners(picture: np.ndarray) -> list[np.ndarray]:
    """The four corner patches of (h, w) or (h, w, 3)."""
    side = max(2, round(_CORNER * min(picture.shape[:2])))
    ends = (slice(None, side), slice(-side, None))
    return [picture[rows, columns] for rows in ends for columns in ends]


def _largest_piece(mask: np.ndarray) -> np.ndarray | None:
    majority = ndimage.uniform_filter(mask.astype(np.float32), 5) > 0.5  # drops specks and bridges of noise
    labels, count = ndimage.label(majority)
    if count == 0:
        return None
    piece = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    # A retina has no holes: fill each row between its ends.
    from_left, from_right = np.maximum.accumulate(piece, 1), np.maximum.accumulate(piece[:, ::-1], 1)[:, ::-1]
    return np.asarray(from_left & from_right)


def _edge_points(piece: np.ndarray) -> np.ndarray:
    """First and last point (y, x) of the piece in every row and column, without those on the frame."""
    return np.concatenate([_row_ends(piece), _row_ends(piece.T)[:, ::-1]])


def _row_ends(piece: np.ndarray) -> np.ndarray:
    width = piece.shape[1]
    rows = np.flatnonzero(piece.any(axis=1))
    first, last = piece[rows].argmax(axis=1), width - piece[rows, ::-1].argmax(axis=1)
    points = np.concatenate([np.stack([rows + 0.5, first], axis=1), np.stack([rows + 0.5, last], axis=1)])
    return points[(points[:, 1] > 1) & (points[:, 1] < width - 1)]


def _sharp_edge(contrast: np.ndarray, circle: Circle) -> np.ndarray:
    """Points where the contrast passes half its height along the normals of the circle, inside the frame."""
    angle = np.arange(3 * _BINS) * (2 * np.pi / (3 * _BINS))
    normal = np.stack([np.sin(angle), np.cos(angle)])
    radii = circle[2] + np.arange(-6, 6.25, 0.25)
    points = np.array(circle[:2])[:, None, None] + normal[:, :, None] * radii
    profile = ndimage.map_coordinates(contrast, points - 0.5, order=1, mode="nearest")
    inside, outside = profile[:, :8].mean(axis=1), profile[:, -8:].mean(axis=1)
    below = profile < ((inside + outside) / 2)[:, None]
    crossing = np.take_along_axis(points, below.argmax(axis=1)[None, :, None], axis=2)[..., 0]
    frame = np.array(contrast.shape)[:, None]
    valid = (inside - outside > _MIN_CONTRAST / 2) & ((crossing > 2) & (crossing < frame - 2)).all(axis=0)
    return np.asarray(crossing[:, valid].T)


def _score(piece: np.ndarray, circle: Circle) -> float | None:
    """How much of the circle has an edge and is filled; None where it is no field of view."""
    height, width = piece.shape
    y, x = np.ogrid[0.5:height, 0.5:width]
    disc = (y - circle[0]) ** 2 + (x - circle[1]) ** 2 <= circle[2] ** 2
    if circle[2] < _MIN_RADIUS * min(piece.shape) or not disc.any():
        return None
    filled, within = (disc & piece).sum() / disc.sum(), (disc & piece).sum() / piece.sum()
    supported = _support(piece, circle)
    if filled < 0.6 or within < 0.9 or supported < 0.25:
        return None
    return float(filled * within * supported)


def _support(piece: np.ndarray, circle: Circle) -> float:
    """Share of the circle's arc inside the frame that has an edge point within two pixels."""
    offset = _edge_points(piece) - np.array(circle[:2])
    near = np.abs(np.linalg.norm(offset, axis=1) - circle[2]) < 2
    bins = np.floor(np.arctan2(offset[near, 0], offset[near, 1]) % (2 * np.pi) / (2 * np.pi) * _BINS)
    angle = (np.arange(_BINS) + 0.5) * (2 * np.pi / _BINS)
    y, x = circle[0] + circle[2] * np.sin(angle), circle[1] + circle[2] * np.cos(angle)
    in_frame = (y > 0) & (y < piece.shape[0]) & (x > 0) & (x < piece.shape[1])
    return len(np.unique(bins)) / max(int(in_frame.sum()), _BINS // 6)


def _whole_frame(small: np.ndarray, height: int, width: int) -> FieldOfView:
    """The frame, if its colour and smoothness are those of a retina."""
    spread = small.std(axis=(0, 1)).max()
    roughness = np.abs(np.diff(small, axis=1)).mean()
    mean = small.mean(axis=(0, 1))
    if spread < 0.01 or roughness > 0.5 * spread or mean[0] - mean[2] < _WARM or not mean[0] > mean[1] > mean[2]:
        raise ImageValueError(
            "image: no retina found; wanted a colour fundus photograph with a round field of view on black, white or "
            "grey ground (an all-black, constant, noise or grey-scale image came?); leave the file out"
        )
    return FieldOfView(height / 2, width / 2, math.hypot(height, width) / 2, height, width, border_visible=False)
