"""Annotated and predicted masks of the same photographs in one datalist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_retina_gen.data.condition_map import CONDITION_KEYS, CONDITION_LESIONS
from monai_retina_gen.data.datalist_format import SECTIONS, Datalist, Item
from monai_retina_gen.data.label_grades import icdr_grade
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS

__all__ = ["combine_masks"]


def combine_masks(
    annotated: Mapping[str, Any], predicted: Mapping[str, Any], *, follow_grades: bool = False
) -> Datalist:
    """The predicted datalist with annotated masks where there are any.

    An item with the annotated mask of any lesion was annotated for all of them (the convention of IDRiD): a lesion
    without a file is absent there, whatever was predicted.

    Args:
        annotated: datalist with the masks of some photographs.
        predicted: datalist of the same photographs, as `segment` writes it.
        follow_grades: leave out the masks of lesions that an item's grade excludes by the international scale
            (`GRADE_LESIONS`): there they are false alarms, such as a fovea taken for a haemorrhage.

    Returns:
        A new datalist; items that only `annotated` has are left out.

    Examples:
        >>> annotated = {"training": [{"image": "a.png", "ex": "a_ex.png"}, {"image": "b.png"}]}
        >>> masks = {"ex": "p_ex.png", "he": "p_he.png", "od": "p_od.png"}
        >>> predicted = {"training": [{"image": "a.png", **masks}, {"image": "b.png", "grade": 0, **masks}]}
        >>> found = combine_masks(annotated, predicted, follow_grades=True)["training"]
        >>> found[0]
        {'image': 'a.png', 'od': 'p_od.png', 'ex': 'a_ex.png'}
        >>> found[1]
        {'image': 'b.png', 'grade': 0, 'od': 'p_od.png'}
    """
    known = {item["image"]: item for section in SECTIONS for item in annotated.get(section, ())}
    sections = {
        section: [_combined(item, known.get(item["image"], {}), follow_grades) for item in items]
        for section in SECTIONS
        if (items := predicted.get(section))
    }
    return {**{key: value for key, value in predicted.items() if key not in SECTIONS}, **sections}


def _combined(item: Item, annotated: Item, follow_grades: bool) -> Item:
    lesions = set(CONDITION_LESIONS)
    excluded = lesions - set(GRADE_LESIONS[icdr_grade(item)]) if follow_grades and "grade" in item else set()
    replaced = lesions if lesions & set(annotated) else set()
    own = {key: annotated[key] for key in CONDITION_KEYS if key in annotated and key not in excluded}
    return {**{key: value for key, value in item.items() if key not in excluded | replaced}, **own}
