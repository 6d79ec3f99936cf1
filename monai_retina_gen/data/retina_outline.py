"""The outline of the retina on a reduced picture.

The ground around the retina is known from the corners of the frame; what differs from it, as one piece, is the retina,
or a rectangle in which to look again (a page, a screenshot, a scan's border). Writing and lines are thinner than a
retina and fall to a morphological opening. A circle, else an ellipse, is fitted to the edge of the piece, robustly,
since tops, bottoms and sides are often clipped and many cameras leave a notch on the rim; the edge is then located
below a pixel along the normals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_retina_gen.data.ellipse_fit import Ellipse, fit_ellipse, normal_distance, normals
from monai_retina_gen.data.eye_geometry import largest_piece

Array = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
_CORNER = 0.04  # side of a corner patch, as a share of the shorter side of the frame
MIN_CONTRAST = 0.04  # distance in RGB between retina and ground
_LEVELS = (0.08, 0.16, 0.32)  # thresholds to try, as shares of the retina's contrast: dim rims against glowing grounds
_MAX_RADIUS = 0.75  # of the longer side: the corners of a square frame still show ground
_MIN_RADIUS = 0.12  # of the shorter side: below the radius of an optic disc in a magnified frame
_WARM = 0.06  # red minus blue of anything lit by retina; grounds are black, white or grey
_GROUNDS = 3  # of them are tried
_OPENING = 0.05  # of the shorter side: what is thinner is writing
_BINS = 120  # of the circumference, for measuring how much of the outline has an edge
_TOLERANCE = 1.5  # pixels from the outline that count as on it
_ELLIPSE = 1.03  # aspect from which on an ellipse is considered
_MIN_ELLIPSE = 24  # pixels of its shorter radius: in smaller pictures a clipped circle looks the same
_GAIN = 1.1  # how much better than the circle it has to be
_MIN_RIM = 0.35  # share of the outline inside the frame that has to show an edge; 0.46 where a third of a circle is cut
_MIN_BINS = _BINS // 6  # of the rim have to show at all: 60 degrees of a circle
_MIN_ELLIPSE_BINS = _BINS // 2  # corners of a circle clipped on all sides fit a wide ellipse as well
GOOD = 0.4  # a score that needs no comparison; a circle clipped at top and bottom has 0.3 to 0.5
_RECTANGLE = 0.95  # share of its box that a rectangle fills; a circle cut to 0.65 of its height fills 0.92
_SECOND = 0.5  # area of a second eye, in areas of the first


@dataclass(frozen=True)
class Outline:
    """What was found: the curve, how well it is supported (0 to 1), and the colour around it."""

    ellipse: Ellipse
    score: float
    ground: Array


def find_outline(small: Array) -> Outline | None:
    """Outline of the retina in a picture (h, w, 3) in [0, 1]; None where nothing is shaped like one."""
    found: list[Outline] = []
    for ground in ground_colours(small):
        for contrast, threshold in _thresholds(small, ground):
            outline = _outline_above(contrast, threshold, ground, _agreement(small, ground))
            if outline is not None and outline.score > GOOD:
                return outline
            found += [outline] if outline is not None else []
    return max(found, key=lambda outline: outline.score, default=None)


def inner_rectangle(small: Array) -> tuple[int, int, int, int] | None:
    """Top, bottom, left and right of the largest rectangle on the ground, less a pixel; None where there is none."""
    for ground in ground_colours(small):
        for contrast, threshold in _thresholds(small, ground):
            piece = retina_piece(contrast > threshold)
            if piece is None:
                continue
            rows, columns = (np.flatnonzero(piece.any(axis)) for axis in (1, 0))
            top, bottom, left, right = rows[0] + 1, rows[-1], columns[0] + 1, columns[-1]
            height, width = bottom - top, right - left
            smaller = height < piece.shape[0] - 3 or width < piece.shape[1] - 3
            if smaller and min(height, width) >= 16 and piece[top:bottom, left:right].mean() > _RECTANGLE:
                return int(top), int(bottom), int(left), int(right)
    return None


def second_eye(small: Array, outline: Outline) -> bool:
    """Whether another round piece of about the same size lies beside the outline."""
    centre_y, centre_x, radius_y, radius_x = outline.ellipse
    beside = ~disc(small.shape, Ellipse(centre_y, centre_x, radius_y + 4, radius_x + 4))
    area = _SECOND * np.pi * radius_y * radius_x
    return any(
        _is_eye(beside & (contrast > threshold), area) for contrast, threshold in _thresholds(small, outline.ground)
    )


def _is_eye(mask: Mask, area: float) -> bool:
    """Whether the mask has a piece of this area that is no rectangle."""
    piece = retina_piece(mask) if mask.sum() > area else None
    if piece is None or piece.sum() < area:
        return False
    rows, columns = (np.flatnonzero(piece.any(axis)) for axis in (1, 0))
    return bool(piece[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() < _RECTANGLE)


def ground_colours(small: Array) -> list[Array]:
    """Distinct colours of the corners that may be ground: everything that is not lit by retina."""
    corners = [np.median(patch, axis=(0, 1)) for patch in _corners(small)]
    colours: list[Array] = []
    for colour in [np.median(corners, axis=0), *corners]:
        warm = colour[0] - colour[2] > _WARM and colour[0] >= colour[1] >= colour[2]
        if not warm and all(np.abs(colour - other).max() > MIN_CONTRAST for other in colours):
            colours.append(colour)
    return colours[:_GROUNDS]


def _thresholds(small: Array, ground: Array) -> Iterator[tuple[Array, float]]:
    """Contrast to the ground, smoothed, and the levels from which on it may be retina."""
    contrast = ndimage.uniform_filter(np.linalg.norm(small - ground, axis=2), 3)
    noise, bright = _noise_level(contrast), float(np.quantile(contrast, 0.9))
    for threshold in sorted({max(noise, MIN_CONTRAST, level * bright) for level in _LEVELS}):
        yield contrast, threshold


def _agreement(small: Array, ground: Array) -> float:
    """Writing in one corner must not outvote the ground in the others."""
    corners = [np.median(patch, axis=(0, 1)) for patch in _corners(small)]
    return float(0.5 + np.mean([np.abs(corner - ground).max() <= MIN_CONTRAST for corner in corners]) / 2)


def _outline_above(contrast: Array, threshold: float, ground: Array, agreement: float) -> Outline | None:
    piece = retina_piece(contrast > threshold)
    if piece is None:
        return None
    points = _edge_points(piece)
    found = [_fitted(contrast, piece, points, circle=True)]
    if found[0] is None or found[0][0] < GOOD:
        found.append(_fitted(contrast, piece, points, circle=False))
    best = max(filter(None, found), default=None)
    return None if best is None else Outline(best[1], best[0] * agreement, ground)


def _fitted(contrast: Array, piece: Mask, points: Array, *, circle: bool) -> tuple[float, Ellipse] | None:
    """Score and curve; an ellipse's score is lowered, since it fits anything a little better."""
    options = {"tolerance": _TOLERANCE, "max_radius": _MAX_RADIUS * max(piece.shape), "circle": circle}
    curve = fit_ellipse(points, **options)
    if curve is None:
        return None
    curve = fit_ellipse(_sharp_edge(contrast, curve), start=curve, **options) or curve
    if not circle and (max(curve[2:]) < _ELLIPSE * min(curve[2:]) or min(curve[2:]) < _MIN_ELLIPSE):
        return None
    score = _score(piece, points, curve)
    return None if score is None else (score if circle else score / _GAIN, curve)


def _noise_level(contrast: Array) -> float:
    """Contrast that the ground itself reaches by noise, from the quietest corner; lines and writing do not count."""
    quiet = min(_corners(contrast), key=np.median)
    middle = np.median(quiet)
    return float(middle + 6 * 1.48 * np.median(np.abs(quiet - middle)))


def _corners(picture: Array) -> list[Array]:
    """The four corner patches of (h, w) or (h, w, 3)."""
    side = max(2, round(_CORNER * min(picture.shape[:2])))
    ends = (slice(None, side), slice(-side, None))
    return [picture[rows, columns] for rows in ends for columns in ends]


def retina_piece(mask: Mask) -> Mask | None:
    """The largest connected piece, without specks and writing, its rows filled between their ends."""
    majority = ndimage.uniform_filter(mask.astype(np.float32), 5) > 0.5  # drops specks and bridges of noise
    width = max(3, round(_OPENING * min(mask.shape)))
    # Beyond the frame the piece may go on: edges there are the frame's, not the piece's.
    shrunk = ndimage.minimum_filter(majority, width, mode="nearest")
    piece = largest_piece(ndimage.maximum_filter(shrunk, width, mode="nearest") & majority)
    if piece is None:
        return None
    # A retina has no holes: fill each row between its ends.
    from_left, from_right = np.maximum.accumulate(piece, 1), np.maximum.accumulate(piece[:, ::-1], 1)[:, ::-1]
    return np.asarray(from_left & from_right)


def _edge_points(piece: Mask) -> Array:
    """First and last point (y, x) of the piece in every row and column, without those on the frame."""
    return np.concatenate([_row_ends(piece), _row_ends(piece.T)[:, ::-1]])


def _row_ends(piece: Mask) -> Array:
    width = piece.shape[1]
    rows = np.flatnonzero(piece.any(axis=1))
    first, last = piece[rows].argmax(axis=1), width - piece[rows, ::-1].argmax(axis=1)
    points = np.concatenate([np.stack([rows + 0.5, first], axis=1), np.stack([rows + 0.5, last], axis=1)])
    return points[(points[:, 1] > 1) & (points[:, 1] < width - 1)]


def _around(curve: Ellipse, count: int) -> tuple[Array, Array]:
    """Points (count, 2) of the curve and its outward normals there."""
    angle = (np.arange(count) + 0.5) * (2 * np.pi / count)
    points = np.array(curve[:2]) + np.array(curve[2:]) * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return points, normals(points, np.array(curve))[0]


def _sharp_edge(contrast: Array, curve: Ellipse) -> Array:
    """Points where the contrast passes half its height along the normals of the curve, inside the frame."""
    start, normal = _around(curve, 3 * _BINS)
    points = (start[:, None] + normal[:, None] * np.arange(-6, 6.25, 0.25)[:, None]).transpose(2, 0, 1)
    profile = ndimage.map_coordinates(contrast, points - 0.5, order=1, mode="nearest")
    inside, outside = profile[:, :8].mean(axis=1), profile[:, -8:].mean(axis=1)
    below = profile < ((inside + outside) / 2)[:, None]
    crossing = np.take_along_axis(points, below.argmax(axis=1)[None, :, None], axis=2)[..., 0]
    frame = np.array(contrast.shape)[:, None]
    valid = (inside - outside > MIN_CONTRAST / 2) & ((crossing > 2) & (crossing < frame - 2)).all(axis=0)
    return np.asarray(crossing[:, valid].T)


def disc(shape: Sequence[int], curve: Ellipse) -> Mask:
    """Pixels of a picture of this height and width whose centre lies in the curve."""
    y, x = np.ogrid[0.5 : shape[0], 0.5 : shape[1]]
    return ((y - curve.centre_y) / curve.radius_y) ** 2 + ((x - curve.centre_x) / curve.radius_x) ** 2 <= 1


def _score(piece: Mask, points: Array, curve: Ellipse) -> float | None:
    """How much of the curve is edge and is filled, and of the edge is curve; None where it is no field of view."""
    height, width = piece.shape
    inside = disc(piece.shape, curve)
    centred = 0 < curve.centre_y < height and 0 < curve.centre_x < width
    if not centred or min(curve[2:]) < _MIN_RADIUS * min(piece.shape) or not inside.any():
        return None
    shared = (inside & piece).sum()
    filled, within = shared / inside.sum(), shared / piece.sum()
    rim, explained = _rim(piece, points, curve)
    if filled < 0.6 or within < 0.9 or rim < _MIN_RIM:
        return None
    return float(filled * within * rim * explained)


def _rim(piece: Mask, points: Array, curve: Ellipse) -> tuple[float, float]:
    """Share of the curve inside the frame with an edge point within two pixels, and of edge points on the curve."""
    near = np.abs(normal_distance(points, np.array(curve))) < 2
    angle = np.arctan2(*normals(points[near], np.array(curve))[1].T) % (2 * np.pi)
    bins = len(np.unique(np.floor(angle / (2 * np.pi) * _BINS)))
    y, x = _around(curve, _BINS)[0].T
    in_frame = (y > 2) & (y < piece.shape[0] - 2) & (x > 2) & (x < piece.shape[1] - 2)
    enough = bins >= (_MIN_BINS if curve.radius_y == curve.radius_x else _MIN_ELLIPSE_BINS)
    rim = bins / max(int(in_frame.sum()), 1) if enough else 0.0
    return float(min(rim, 1.0)), float(near.mean())
