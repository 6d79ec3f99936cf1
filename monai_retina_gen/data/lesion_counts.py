"""Lesions of an eye counted in its masks, by quadrant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_retina_gen.data.eye_geometry import EyeGeometry
from monai_retina_gen.data.lesion_rules import LESION_MASKS

__all__ = ["count_lesions", "pieces_by_quadrant"]

TOUCHING = np.ones((3, 3))


def pieces_by_quadrant(mask: npt.NDArray[Any], eye: EyeGeometry) -> npt.NDArray[np.int64]:
    """Connected pieces of a mask `(H, W)`, from 0.5 on, in each quadrant: `(4,)`, as in `QUADRANTS`.

    Quadrants meet in the fovea (the middle of the field where no disc is known) and run along the image's axes; a
    piece belongs to the quadrant of its middle. Pieces that touch, corners included, are one.

    Examples:
        >>> mask = np.zeros((64, 64))
        >>> mask[5, 5] = mask[50, 5:9] = mask[50, 50] = mask[51, 51] = 1
        >>> pieces_by_quadrant(mask, EyeGeometry.from_masks(np.ones((64, 64)))).tolist()
        [0, 1, 1, 1]
    """
    labels, count = ndimage.label(np.asarray(mask) >= 0.5, TOUCHING)
    if not count:
        return np.zeros(4, np.int64)
    middles = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1)))[:, ::-1] + 0.5
    return np.bincount(eye.quadrants(middles), minlength=4).astype(np.int64)


def count_lesions(masks: Mapping[str, Any]) -> dict[str, npt.NDArray[np.int64]]:
    """Pieces of every lesion of an eye by quadrant, as `rule_violation` takes them.

    Args:
        masks: `(1, H, W)` in [0, 1]: `fov`, better with `od`, and any of `LESION_MASKS`.

    Raises:
        KeyError: without `fov`.
        ImageValueError: for an empty field of view.
    """
    plane = {key: np.asarray(mask)[0] for key, mask in masks.items() if key in ("fov", "od", *LESION_MASKS)}
    eye = EyeGeometry.from_masks(plane["fov"], plane.get("od"))
    return {name: pieces_by_quadrant(plane[name], eye) for name in LESION_MASKS if name in plane}
