"""Masks of edited photographs: as annotated, but for the edited lesions where the edit is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from monai_retina_gen.errors import ImageValueError

Find = Callable[[Tensor], Mapping[str, Tensor]]


def edited_masks(
    before: Tensor,
    after: Tensor,
    annotated: Mapping[str, Tensor],
    lesions: Sequence[Sequence[str]],
    find: Find,
    *,
    all_masks: bool = False,
) -> dict[str, Tensor]:
    """Masks `(B, 1, H, W)` by name after an edit.

    `find` gives soft masks of images, or an empty mapping where it does not know them. Where it sees an edited lesion
    (of `lesions`, row by row) come or go, inside of what the edit has changed, the annotation follows; everything else
    stays as it was annotated. `all_masks` adds what `find` finds and nobody annotated. `ImageValueError` where an
    edited lesion is annotated and `find` does not know it.
    """
    made = dict(annotated)
    edited = {name: [i for i, each in enumerate(lesions) if name in each] for name in annotated}
    rows = sorted({row for each in edited.values() for row in each})
    found = find(after) if all_masks else {}
    if rows:
        seen_before = find(before[rows])
        seen_after = {name: mask[rows] for name, mask in found.items()} if found else find(after[rows])
        _check_seen([name for name, each in edited.items() if each], seen_after, int(after.shape[-1]))
        changed = (after[rows] != before[rows]).any(1, keepdim=True)
        for name, own in edited.items():
            if own:
                here = [rows.index(row) for row in own]
                mask = annotated[name].clone()
                was, now = (seen[name][here] >= 0.5 for seen in (seen_before, seen_after))
                mask[own] = torch.where((was != now) & changed[here], now.to(mask), mask[own])
                made[name] = mask
    return {**{name: (mask >= 0.5).float() for name, mask in found.items()}, **made}


def _check_seen(names: Sequence[str], seen: Mapping[str, Tensor], side: int) -> None:
    lacking = [name for name in names if name not in seen]
    if lacking:
        raise ImageValueError(
            f"masks {', '.join(lacking)} would no longer fit the edited images, and the generator has no segmenter for "
            f"images of {side} px: leave them out of mask_keys, or use larger images"
        )
