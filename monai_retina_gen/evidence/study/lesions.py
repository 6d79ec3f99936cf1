"""Masks and lesions of a study's photographs: each is read once, and a part's bank is made of its own lesions alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from monai_retina_gen.data import CONDITION_KEYS, Item, LesionBank
from monai_retina_gen.data.bank_building import bank_of_eyes, eye_lesions
from monai_retina_gen.data.combine_masks import annotated_lesions, merge_masks
from monai_retina_gen.evidence.evaluation.image_sets import load_eye, to_bytes
from monai_retina_gen.networks import PAINTED_LESIONS

from .photographs import Photographs
from .side_by_side import mapped

PREDICTED = "predicted_masks"
"""Key of an item: which of its masks are predicted."""

_eyes: dict[str, LesionBank | None] = {}
_masks: dict[tuple[str, int], dict[str, npt.NDArray[np.uint8]]] = {}


def with_predicted(item: Item, predicted: Item | None) -> Item:
    """The item with predicted masks of what was not annotated, and their names.

    Examples:
        >>> with_predicted({"image": "a", "od": "real"}, {"image": "a", "od": "guess", "ex": "guess"})
        {'image': 'a', 'od': 'real', 'ex': 'guess', 'predicted_masks': ['ex']}
    """
    merged = merge_masks(item, predicted)
    return {**merged, PREDICTED: sorted(key for key in CONDITION_KEYS if key in merged and key not in item)}


def lesions_of(photographs: Photographs) -> LesionBank:
    """Lesions of these photographs alone; a `DatalistError` if none has a mask of a lesion."""
    found = [_lesions(item) for item in photographs.items if "grade" in item]
    return bank_of_eyes([eye for eye in found if eye is not None], photographs.items)


def mask_keys(item: Item) -> tuple[str, ...]:
    """Masks of a photograph that are known: those it has, and lesions that were looked for and are not there.

    Examples:
        >>> mask_keys({"ex": "ex.png"}), mask_keys({"od": "od.png", "predicted_masks": ["od"]})
        (('ma', 'he', 'ex', 'se'), ('od', 'ma', 'he', 'ex', 'se'))
    """
    looked = set(PAINTED_LESIONS) if item.get(PREDICTED) else annotated_lesions(item) & set(PAINTED_LESIONS)
    return tuple(key for key in CONDITION_KEYS if key in item or key in looked)


def own_masks(item: Item, size: int) -> dict[str, Tensor]:
    """Masks of a photograph under `mask_keys`, as 8 bits, `(1, size, size)`."""
    key = (_key(item), size)
    if key not in _masks:
        _masks[key] = _read_masks(item, size)
    found = {name: torch.from_numpy(mask) for name, mask in _masks[key].items()}
    empty = torch.zeros(1, size, size, dtype=torch.uint8)
    return {name: found.get(name, empty) for name in mask_keys(item)}


def read_ahead(items: Sequence[Item], size: int, jobs: int) -> None:
    """Read masks and lesions of photographs in several processes, for this one and those that it forks."""
    wanted = [item for item in items if _key(item) not in _eyes]
    found = mapped(_read_lesions, wanted, jobs)
    _eyes.update({_key(item): eye for item, eye in zip(wanted, found, strict=True)})
    planes = mapped(partial(_read_masks, size=size), wanted, jobs)
    _masks.update({(_key(item), size): masks for item, masks in zip(wanted, planes, strict=True)})


def _key(item: Item) -> str:
    return json.dumps({key: item.get(key) for key in ("image", "grade", PREDICTED, *CONDITION_KEYS)}, default=str)


def _lesions(item: Item) -> LesionBank | None:
    key = _key(item)
    if key not in _eyes:
        _eyes[key] = _read_lesions(item)
    return _eyes[key]


def _read_lesions(item: Item) -> LesionBank | None:
    guessed = item.get(PREDICTED, [])
    annotated: dict[str, Any] = {key: value for key, value in item.items() if key not in guessed}
    return eye_lesions(annotated, {"image": item["image"], **{key: item[key] for key in guessed}})


def _read_masks(item: Item, size: int) -> dict[str, npt.NDArray[np.uint8]]:
    keys = tuple(key for key in CONDITION_KEYS if key in item)
    eye = load_eye(item, size, keys) if keys else {}
    return {key: to_bytes(eye[key]).numpy() for key in keys}
