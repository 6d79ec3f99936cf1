"""The eye that lesions are composed for, and the masks composed for it, from pieces that were placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate

from monai_retina_gen.data.eye_geometry import EyeGeometry
from monai_retina_gen.data.lesion_placement import Canvas, Placed, draw_pieces, resized
from monai_retina_gen.data.lesion_rules import LESION_MASKS, count_lesions, meets_the_4, pieces_by_quadrant
from monai_retina_gen.errors import ImageValueError

Array = npt.NDArray[Any]
LARGE = 60  # pixels of a piece, at the bank's diameter, from which on its edge is softened
SOFTNESS = 0.12  # of the edge, as a share of the radius of a circle of the piece's area


@dataclass(frozen=True)
class ComposedEye:
    """What there is: field, disc and lesions `(H, W)`, bool, and lesions by name with their numbers by quadrant."""

    field: Array
    disc: Array | None
    lesions: Array | None
    own: dict[str, Array]
    counts: dict[str, Array]

    @classmethod
    def of(cls, anatomy: Mapping[str, Any], own: Mapping[str, Any]) -> ComposedEye:
        planes = _planes({**{name: own[name] for name in LESION_MASKS if name in own}, **_anatomy(anatomy)})
        field, disc = planes.pop("fov"), planes.pop("od", None)
        shown = {name: plane for name, plane in planes.items() if plane.any()}
        everything = np.any(list(shown.values()), axis=0) if shown else None
        anatomy_masks = {"fov": field[None]} | ({} if disc is None else {"od": disc[None]})
        counts = count_lesions({**anatomy_masks, **{name: plane[None] for name, plane in shown.items()}})
        return cls(field, disc, everything, shown, counts)

    def areas(self, diameter: int) -> Array:
        """(lesions,) area of each lesion, in pixels at a diameter of the field."""
        scale = diameter / (2 * EyeGeometry.from_masks(self.field).radius)
        return np.array([self.own[n].sum() * scale**2 if n in self.own else 0.0 for n in LESION_MASKS])

    @property
    def severe(self) -> bool:
        return meets_the_4(self.counts.get("he", np.zeros(4, np.int64)))

    def severe_with(self, haemorrhages: Tensor) -> bool:
        """Whether the eye is severe with haemorrhages `(1, H, W)` besides its own."""
        both = haemorrhages[0].numpy() >= 0.5
        both = both | self.own["he"] if "he" in self.own else both
        return meets_the_4(pieces_by_quadrant(both, EyeGeometry.from_masks(self.field, self.disc)))


def _anatomy(anatomy: Mapping[str, Any]) -> dict[str, Any]:
    if "fov" not in anatomy:
        raise ImageValueError(f"masks: 'fov' (the field of view) is wanted, got {sorted(map(str, anatomy))}")
    return {key: anatomy[key] for key in ("fov", "od") if key in anatomy}


def _planes(masks: Mapping[str, Any]) -> dict[str, Array]:
    planes = {key: np.asarray(mask) for key, mask in masks.items()}
    shapes = {key: plane.shape for key, plane in planes.items()}
    if any(len(shape) != 3 or shape[0] != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
        raise ImageValueError(f"masks: shapes {shapes} came, wanted (1, H, W), all of one size")
    return {key: plane[0] >= 0.5 for key, plane in planes.items()}


def soft_edges(planes: Array, placed: Placed) -> npt.NDArray[np.float32]:
    """Drawn planes (lesions, H, W) as shares of pixels: edges of large pieces are blurred, small pieces stay."""
    soft = planes.astype(np.float32)
    area = np.bincount(placed.owner, minlength=len(placed.kind))
    starts = np.concatenate([[0], np.cumsum(area)])
    for piece in np.flatnonzero(area >= LARGE):
        sigma = SOFTNESS * float(np.sqrt(area[piece] / np.pi))
        where = placed.middle[piece] + placed.offsets[starts[piece] : starts[piece + 1]]
        _blur(soft[placed.kind[piece]], planes[placed.kind[piece]], where, sigma)
    return soft


def _blur(soft: Array, plane: Array, where: Array, sigma: float) -> None:
    """Blur one piece of a plane, in place; `where` is (P, 2), its pixels as x and y."""
    height, width = plane.shape
    x, y = where[((where >= 0) & (where < (width, height))).all(1)].T
    x, y = x[plane[y, x]], y[plane[y, x]]
    if not len(x):
        return
    edge = int(np.ceil(3 * sigma))
    left, top = max(0, x.min() - edge), max(0, y.min() - edge)
    box = (slice(top, y.max() + edge + 1), slice(left, x.max() + edge + 1))
    piece = np.zeros(soft[box].shape, np.float32)
    piece[y - top, x - left] = 1
    faded = ndimage.gaussian_filter(piece, sigma, mode="constant")
    soft[box] = np.where(piece > 0, faded, np.maximum(soft[box], faded))


@dataclass(frozen=True)
class ComposedMasks:
    """Masks of lesions for one eye.

    Attributes:
        masks: `(1, H, W)` float32 in [0, 1] for every name in `LESION_MASKS`; absent lesions are zero.
        counts: (lesions, 4) pieces that were placed, by lesion and quadrant.
        area: share of the field of view that each lesion covers, by name.
        profile: name of the photograph that said which lesions there are; `""` for grade 0.
    """

    masks: dict[str, Tensor]
    counts: Array
    area: dict[str, float]
    profile: str


def nothing(field: Array) -> ComposedMasks:
    """An eye `(H, W)` without lesions."""
    empty = {name: torch.zeros(1, *field.shape, dtype=torch.float32) for name in LESION_MASKS}
    return ComposedMasks(empty, np.zeros((len(LESION_MASKS), 4), np.int64), dict.fromkeys(LESION_MASKS, 0.0), "")


def finished(canvas: Canvas, placed: Placed, eye: ComposedEye, profile: str) -> ComposedMasks:
    """From the bank's resolution to the eye's, where lesions may lie."""
    planes, counts = draw_pieces(canvas, placed)
    size = tuple(eye.field.shape)
    shown = np.flatnonzero(planes.reshape(len(planes), -1).any(1))
    masks = torch.zeros(len(LESION_MASKS), *size, dtype=torch.float32)
    if len(shown):
        small = torch.from_numpy(soft_edges(planes, placed)[shown])[None]
        if size != planes.shape[1:]:
            small = interpolate(small, size, mode="bilinear", antialias=True, align_corners=False)
        masks[shown] = small[0].clamp(0, 1) * _allowed(canvas, eye)[shown]
    area = masks.sum((1, 2)) / int(eye.field.sum())
    return ComposedMasks(
        {name: masks[[i]] for i, name in enumerate(LESION_MASKS)},
        counts,
        dict(zip(LESION_MASKS, area.tolist(), strict=True)),
        profile,
    )


def _allowed(canvas: Canvas, eye: ComposedEye) -> Tensor:
    """(lesions, H, W) where each may lie, at the eye's resolution."""
    field, retina = (resized(plane, eye.field.shape) & eye.field for plane in (canvas.field, canvas.retina))
    for taken in (eye.disc, eye.lesions):
        retina = retina if taken is None else retina & ~taken
    return torch.from_numpy(np.stack([field if name == "membrane" else retina for name in LESION_MASKS]))
