"""Lesions and grades: which a grade may and must show, how many an eye has, and which were annotated or predicted.

Source: Wilkinson et al., "Proposed international clinical diabetic retinopathy and diabetic macular edema disease
severity scales", Ophthalmology 110 (2003) 1677-1682. Venous beading and intraretinal microvascular abnormalities (the
"2" and "1" of the 4-2-1 rule) and new vessels (grade 4) have no masks here, so that severe and proliferative eyes
cannot be told by their lesion masks alone; the rules below are what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_retina_gen.data.condition_map import CONDITION_KEYS, CONDITION_LESIONS
from monai_retina_gen.data.datalist_format import SECTIONS, Datalist, Item
from monai_retina_gen.data.eye_geometry import EyeGeometry
from monai_retina_gen.data.grades import icdr_grade
from monai_retina_gen.data.names import LESIONS

LESION_MASKS = CONDITION_LESIONS
"""Mask keys: microaneurysms, haemorrhages, hard and soft exudates, and of late disease laser scars and membranes."""

GRADE_LESIONS: Mapping[int, tuple[str, ...]] = {0: (), 1: ("ma",), 2: LESIONS, 3: LESIONS, 4: LESION_MASKS}
"""Lesions that each grade may show."""

SEVERE_PER_QUADRANT = 20
"""Haemorrhages in each of four quadrants from which an eye is severe: the "4" of the 4-2-1 rule."""

TOUCHING = np.ones((3, 3))


def meets_the_4(haemorrhages: npt.NDArray[Any]) -> bool:
    """Whether haemorrhages `(4,)` make an eye severe: 20 in each of four quadrants, the "4" of the 4-2-1 rule."""
    return bool(haemorrhages.min() >= SEVERE_PER_QUADRANT)


def rule_violation(grade: int, counts: Mapping[str, np.ndarray]) -> str:
    """Why an eye with these lesions cannot have this grade; `""` where it can.

    - 0: no lesion.
    - 1: microaneurysms only, at least one.
    - 2: more than microaneurysms, less than severe: not 20 haemorrhages in every quadrant.
    - 3: at least one haemorrhage, and haemorrhages or microaneurysms in all four quadrants.
    - 4: any lesion at all.

    `counts` are lesions per quadrant, `(4,)` each, by name. `ValueError` for another grade.
    """
    if grade not in GRADE_LESIONS:
        raise ValueError(f"grade must be 0, 1, 2, 3 or 4, got {grade!r}")
    shown = [name for name in LESION_MASKS if name in counts and counts[name].sum()]
    foreign = [name for name in shown if name not in GRADE_LESIONS[grade]]
    if foreign:
        return f"grade {grade} shows {', '.join(foreign)}"
    none = np.zeros(4, np.int64)
    haemorrhages = counts.get("he", none)
    if grade > 0 and not shown:
        return f"grade {grade} shows no lesion"
    if grade == 2 and shown == ["ma"]:
        return "grade 2 shows microaneurysms only"
    if grade == 2 and meets_the_4(haemorrhages):
        return f"grade 2 shows {SEVERE_PER_QUADRANT} haemorrhages in every quadrant"
    if grade == 3 and not (haemorrhages.sum() and (haemorrhages + counts.get("ma", none)).min()):
        return "grade 3 lacks haemorrhages or microaneurysms in a quadrant"
    return ""


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

    `masks` are `(1, H, W)` in [0, 1]: `fov` (`KeyError` without, `ImageValueError` for an empty one), better with `od`,
    and any of `LESION_MASKS`.
    """
    plane = {key: np.asarray(mask)[0] for key, mask in masks.items() if key in ("fov", "od", *LESION_MASKS)}
    eye = EyeGeometry.from_masks(plane["fov"], plane.get("od"))
    return {name: pieces_by_quadrant(plane[name], eye) for name in LESION_MASKS if name in plane}


TOGETHER = LESIONS
"""Lesions that are annotated together, by the convention of IDRiD."""


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
