"""Annotated and predicted masks of the same photographs in one datalist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_retina_gen.data.condition_map import CONDITION_KEYS, CONDITION_LESIONS
from monai_retina_gen.data.datalist_format import SECTIONS, Datalist, Item
from monai_retina_gen.data.label_grades import icdr_grade
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS
from monai_retina_gen.data.names import LESIONS

__all__ = ["TOGETHER", "annotated_lesions", "combine_masks", "merge_masks"]

TOGETHER = LESIONS
"""Lesions that are annotated together, by the convention of IDRiD."""


def annotated_lesions(item: Mapping[Any, Any]) -> frozenset[str]:
    """The lesions that were looked for in a photograph: where one of them has no mask, the photograph shows none.

    The mask of any of `ma`, `he`, `ex`, `se` says that all four were annotated. Laser scars and membranes are annotated
    each for itself, often by `model activation-maps`, and say nothing of other lesions.

    Args:
        item: with masks, or their files, under the keys of lesions.

    Examples:
        >>> sorted(annotated_lesions({"ex": "ex.png"})), sorted(annotated_lesions({"laser": "laser.png"}))
        (['ex', 'he', 'ma', 'se'], ['laser'])
    """
    found = {name for name in CONDITION_LESIONS if name in item}
    return frozenset(found | set(TOGETHER) if found & set(TOGETHER) else found)


def merge_masks(item: Item, predicted: Item | None) -> Item:
    """The item with predicted masks of what was not annotated in it (see `annotated_lesions`).

    Examples:
        >>> merge_masks({"image": "a", "ex": "real"}, {"image": "a", "ex": "guess", "ma": "guess", "od": "guess"})
        {'image': 'a', 'ex': 'real', 'od': 'guess'}
    """
    known = annotated_lesions(item)
    return {**item, **{k: v for k, v in (predicted or {}).items() if k not in item and k not in known}}


def combine_masks(
    annotated: Mapping[str, Any], predicted: Mapping[str, Any], *, follow_grades: bool = False
) -> Datalist:
    """The predicted datalist with annotated masks where there are any.

    A lesion that was looked for (`annotated_lesions`) and has no annotated mask is absent, whatever was predicted.

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
        {'image': 'a.png', 'ex': 'a_ex.png', 'od': 'p_od.png'}
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
    own, found = ({key: masks[key] for key in CONDITION_KEYS if key in masks} for masks in (annotated, item))
    allowed = set(GRADE_LESIONS[icdr_grade(item)]) if follow_grades and "grade" in item else set(CONDITION_LESIONS)
    excluded = set(CONDITION_LESIONS) - allowed
    masks = {key: mask for key, mask in merge_masks(own, found).items() if key not in excluded}
    return {**{key: value for key, value in item.items() if key not in CONDITION_KEYS}, **masks}
