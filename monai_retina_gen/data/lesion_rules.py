"""Which lesions a grade of diabetic retinopathy may and must show, as far as masks of lesions can show it.

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

from monai_retina_gen.data.condition_map import CONDITION_LESIONS
from monai_retina_gen.data.names import LESIONS

__all__ = ["GRADE_LESIONS", "LESION_MASKS", "SEVERE_PER_QUADRANT", "meets_the_4", "rule_violation"]

LESION_MASKS = CONDITION_LESIONS
"""Mask keys: microaneurysms, haemorrhages, hard and soft exudates, and of late disease laser scars and membranes."""

GRADE_LESIONS: Mapping[int, tuple[str, ...]] = {
    0: (),
    1: ("ma",),
    2: LESIONS,
    3: LESIONS,
    4: LESION_MASKS,
}
"""Lesions that each grade may show."""

SEVERE_PER_QUADRANT = 20
"""Haemorrhages in each of four quadrants from which an eye is severe: the "4" of the 4-2-1 rule."""


def meets_the_4(haemorrhages: npt.NDArray[Any]) -> bool:
    """Whether haemorrhages alone make an eye severe: 20 of them in each of four quadrants, the "4" of the 4-2-1 rule.

    Args:
        haemorrhages: pieces per quadrant, `(4,)`.

    Examples:
        >>> meets_the_4(np.array([20, 31, 20, 24])), meets_the_4(np.array([90, 90, 90, 19]))
        (True, False)
    """
    return bool(haemorrhages.min() >= SEVERE_PER_QUADRANT)


def rule_violation(grade: int, counts: Mapping[str, np.ndarray]) -> str:
    """Why an eye with these lesions cannot have this grade; `""` where it can.

    - 0: no lesion.
    - 1: microaneurysms only, at least one.
    - 2: more than microaneurysms, less than severe: not 20 haemorrhages in every quadrant.
    - 3: at least one haemorrhage, and haemorrhages or microaneurysms in all four quadrants.
    - 4: any lesion at all.

    Args:
        grade: 0-4.
        counts: lesions per quadrant, `(4,)` each, by name; a name that is missing counts nothing.

    Raises:
        ValueError: for another grade.

    Examples:
        >>> rule_violation(1, {"ma": np.array([2, 0, 0, 0]), "ex": np.array([0, 1, 0, 0])})
        'grade 1 shows ex'
        >>> rule_violation(2, {"ma": np.array([2, 0, 0, 0]), "ex": np.array([0, 1, 0, 0])})
        ''
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
