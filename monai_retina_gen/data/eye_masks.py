"""Masks of one photograph at a common diameter of the field of view, annotated ones before predicted ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from monai_retina_gen.data.combine_masks import annotated_lesions, merge_masks
from monai_retina_gen.data.datalist_format import Item
from monai_retina_gen.data.eye_geometry import EyeGeometry
from monai_retina_gen.data.field_of_view import find_field_of_view
from monai_retina_gen.data.image_io import read_image, read_mask
from monai_retina_gen.data.lesion_rules import LESION_MASKS
from monai_retina_gen.errors import ImageFileError, ImageValueError

__all__ = ["EyeMasks", "read_eye_masks"]

Mask = npt.NDArray[np.bool_]
SAME_SIZE = 0.03  # masks within this share of the wanted diameter are taken as they are: nothing is resampled


@dataclass(frozen=True)
class EyeMasks:
    """Masks `(H, W)` of one eye.

    Attributes:
        geometry: in pixels of the masks.
        field: field of view.
        disc: optic disc; empty where unknown.
        lesions: by name.
        annotated: lesions that were annotated; the others are predicted.
    """

    geometry: EyeGeometry
    field: Mask
    disc: Mask
    lesions: Mapping[str, Mask]
    annotated: frozenset[str]


def read_eye_masks(item: Item, predicted: Item | None, *, diameter: int, threshold: float = 0.5) -> EyeMasks | None:
    """Read the masks of a photograph.

    Args:
        item: item of a datalist; without `fov` the field of view is found in the photograph.
        predicted: item of the same photograph with predicted masks, or None.
        diameter: wanted diameter of the field of view in pixels.
        threshold: share of a pixel from which on it is inside.

    Returns:
        The masks; None for a photograph without the mask of any lesion.

    Raises:
        ImageFileError: if a mask cannot be read, or has another size than the others.
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
