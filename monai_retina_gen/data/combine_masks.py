"""Annotated and predicted masks of the same photographs: in one datalist, and of one eye at a common diameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from monai_retina_gen.data.condition_map import CONDITION_KEYS, CONDITION_LESIONS
from monai_retina_gen.data.datalist_format import SECTIONS, Datalist, Item
from monai_retina_gen.data.eye_geometry import EyeGeometry
from monai_retina_gen.data.field_of_view import find_field_of_view
from monai_retina_gen.data.grades import icdr_grade
from monai_retina_gen.data.image_io import read_image, read_mask
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS, LESION_MASKS
from monai_retina_gen.data.names import LESIONS
from monai_retina_gen.errors import ImageFileError, ImageValueError

TOGETHER = LESIONS
"""Lesions that are annotated together, by the convention of IDRiD."""

Mask = npt.NDArray[np.bool_]
SAME_SIZE = 0.03  # masks within this share of the wanted diameter are taken as they are: nothing is resampled


def annotated_lesions(item: Mapping[Any, Any]) -> frozenset[str]:
    """The lesions that were looked for in a photograph: where one of them has no mask, the photograph shows none.

    The mask of any of `ma`, `he`, `ex`, `se` says that all four were annotated. Laser scars and membranes are annotated
    each for itself, often by `model activation-maps`, and say nothing of other lesions.
    """
    found = {name for name in CONDITION_LESIONS if name in item}
    return frozenset(found | set(TOGETHER) if found & set(TOGETHER) else found)


def merge_masks(item: Item, predicted: Item | None) -> Item:
    """The item with predicted masks of what was not annotated in it (see `annotated_lesions`)."""
    known = annotated_lesions(item)
    return {**item, **{k: v for k, v in (predicted or {}).items() if k not in item and k not in known}}


def combine_masks(
    annotated: Mapping[str, Any], predicted: Mapping[str, Any], *, follow_grades: bool = False
) -> Datalist:
    """The predicted datalist with annotated masks where there are any; items that only `annotated` has are left out.

    A lesion that was looked for (`annotated_lesions`) and has no annotated mask is absent, whatever was predicted.
    `follow_grades` leaves out masks of lesions that an item's grade excludes (`GRADE_LESIONS`): false alarms, such as a
    fovea taken for a haemorrhage.
    """
    known = {item["image"]: item for section in SECTIONS for item in annotated.get(section, ())}
    sections = {
        section: [_combined(item, known.get(item["image"], {}), follow_grades) for item in items]
        for section in SECTIONS
        if (items := predicted.get(section))
    }
    return {**{key: value for key, value in predicted.items() if key not in SECTIONS}, **sections}


def _combined(item: Item, annotated: Item, follow_grades: bool) -> Item:
    own, found = ({key: masks[key] for key in CONDITION_KEYS if key in masks} for masks in (annotated, item))
    allowed = set(GRADE_LESIONS[icdr_grade(item)]) if follow_grades and "grade" in item else set(CONDITION_LESIONS)
    excluded = set(CONDITION_LESIONS) - allowed
    masks = {key: mask for key, mask in merge_masks(own, found).items() if key not in excluded}
    return {**{key: value for key, value in item.items() if key not in CONDITION_KEYS}, **masks}


@dataclass(frozen=True)
class EyeMasks:
    """Masks `(H, W)` of one eye, the geometry in their pixels; `disc` is empty where unknown, lesions are by name."""

    geometry: EyeGeometry
    field: Mask
    disc: Mask
    lesions: Mapping[str, Mask]
    annotated: frozenset[str]


def read_eye_masks(item: Item, predicted: Item | None, *, diameter: int, threshold: float = 0.5) -> EyeMasks | None:
    """Read the masks of a photograph, its field of view `diameter` pixels wide.

    None for one without the mask of any lesion; without `fov` the field of view is found in the photograph.
    """
    merged = merge_masks(item, predicted)
    names = [name for name in LESION_MASKS if name in merged]
    if not names:
        return None
    planes = {key: _plane(merged[key]) for key in (*names, "fov", "od") if key in merged}
    if "fov" not in planes:
        planes["fov"] = _found_field(merged["image"])
    _check_sizes(merged, planes)
    factor = diameter / (2 * EyeGeometry.from_masks(planes["fov"]).radius)
    hard = {key: _resized(plane, factor) >= threshold for key, plane in planes.items()}
    disc = hard.get("od", np.zeros_like(hard["fov"]))
    return EyeMasks(
        geometry=EyeGeometry.from_masks(hard["fov"], disc),
        field=hard["fov"],
        disc=disc,
        lesions={name: hard[name] for name in names},
        annotated=annotated_lesions(item),
    )


def _plane(path: str) -> npt.NDArray[np.float32]:
    plane: npt.NDArray[np.float32] = read_mask(path)[0].numpy()
    return plane


def _found_field(path: str) -> npt.NDArray[np.float32]:
    try:
        field = find_field_of_view(read_image(path))
    except ImageValueError as error:
        raise ImageFileError(f"{path}: {error}") from error
    y, x = np.ogrid[0.5 : field.height, 0.5 : field.width]
    y, x = (y - field.centre_y) / field.radius_y, (x - field.centre_x) / field.radius_x
    return (y**2 + x**2 <= 1).astype(np.float32)


def _resized(plane: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    if abs(factor - 1) <= SAME_SIZE:
        return plane
    size = [max(1, round(side * factor)) for side in plane.shape]
    mode: dict[str, Any] = {"mode": "area"} if factor < 1 else {"mode": "bilinear", "align_corners": False}
    resized: npt.NDArray[np.float32] = interpolate(torch.from_numpy(plane)[None, None], size, **mode)[0, 0].numpy()
    return resized


def _check_sizes(item: Item, planes: Mapping[str, npt.NDArray[Any]]) -> None:
    sizes = {plane.shape for plane in planes.values()}
    if len(sizes) > 1:
        each = ", ".join(f"{key} {plane.shape}" for key, plane in planes.items())
        raise ImageFileError(f"{item['image']}: its masks differ in size ({each}); export them at one size")
