"""The eye that lesions are composed for: its anatomy, the lesions that it has, and their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from monai_retina_gen.data.eye_geometry import EyeGeometry
from monai_retina_gen.data.lesion_counts import count_lesions, pieces_by_quadrant
from monai_retina_gen.data.lesion_rules import LESION_MASKS, meets_the_4
from monai_retina_gen.errors import ImageValueError

__all__ = ["ComposedEye"]

Array = npt.NDArray[Any]


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
