"""What an item takes over when it becomes a canvas: everything that belongs to the eye."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_retina_gen.data import ICDR_GRADE, MASK_KEYS
from monai_retina_gen.transforms.augment.canvases import CanvasEye

__all__ = ["becomes", "other_keys", "row_becomes", "with_metadata_of"]

NOTES = ("_generated", "_refused")


def other_keys(item: Mapping[Any, Any], own: Collection[Any]) -> frozenset[Any]:
    """Keys of an item that say something of its eye: all but those of image, label and masks, and our notes.

    Examples:
        >>> item = {"image": 0, "grade": 2, "dme": 1, "group": "a", "image_generated": ""}
        >>> sorted(other_keys(item, ["image", "grade"]))
        ['dme', 'group']
    """
    return frozenset(key for key in item if key not in (*own, *MASK_KEYS, ICDR_GRADE) and not str(key).endswith(NOTES))


def becomes(item: Mapping[Any, Any], eye: CanvasEye, grade: int, own: Collection[Any]) -> dict[Any, Any]:
    """The item with what its canvas says in place of its own; paths of masks that the canvas lacks are gone.

    Args:
        item: with the painted image, and masks, in place already.
        eye: the canvas.
        grade: that it was painted to.
        own: keys of image, label and masks.
    """
    made = {key: eye.item[key] if key in other_keys(item, own) else value for key, value in item.items()}
    for key in (k for k in MASK_KEYS if isinstance(made.get(k), str) and k not in own):
        del made[key]
        made |= {key: eye.item[key]} if key in eye.item else {}
    return made | ({ICDR_GRADE: grade} if ICDR_GRADE in item else {})


def row_becomes(batch: dict[Any, Any], row: int, eye: CanvasEye, grade: int, own: Collection[Any]) -> None:
    """The same for one row of a collated batch, whose lists and tensors are replaced, not written to."""
    for key in other_keys(batch, own):
        batch[key] = _with_row(batch[key], row, eye.item[key])
    if ICDR_GRADE in batch:
        batch[ICDR_GRADE] = _with_row(batch[ICDR_GRADE], row, grade)


def with_metadata_of(image: Tensor, eye: CanvasEye | None, order: str) -> Tensor:
    """The image with the metadata of its canvas, if it has any; `order` stays."""
    if eye is None or not isinstance(image, MetaTensor):
        return image
    made = MetaTensor(image.as_tensor())
    made.copy_meta_from(eye.image)
    made.meta["image_order"] = order
    return made


def _with_row(values: Any, row: int, value: Any) -> Any:
    if isinstance(values, Tensor):
        rows = values.clone()
        rows[row] = torch.as_tensor(value).to(rows)
        return rows
    listed = list(values)
    listed[row] = value
    return listed
