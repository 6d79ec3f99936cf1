"""Masks that a segmenter finds in images of any side, by which edits are measured, and masks after an edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from monai_retina_gen.engines import FundusSegmenter
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.networks.inputs import resized

SEGMENTED_SHARE = 0.5
"""A segmenter is asked about images from this share of the side that it was trained at: it finds nothing in smaller."""

Masker = Callable[[Tensor], Mapping[str, Tensor]]
"""From images `(B, 3, S, S)` in [0, 1] to soft masks `(B, 1, S, S)` by name; from 0.5 on a pixel belongs."""


class SegmenterMasks:
    """Soft masks of a `FundusSegmenter`, at the images' own side; `side` is the one at which it sees them.

    Probabilities are scaled piecewise, so that the structure's threshold becomes 0.5.
    """

    def __init__(self, segmenter: FundusSegmenter, *, side: int = 0, batch_size: int = 32) -> None:
        self.segmenter, self.side, self.batch_size = segmenter, side or segmenter.image_size, batch_size

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        parts = [self._part(part) for part in images.split(self.batch_size)]
        return {name: torch.cat([part[name] for part in parts]) for name in self.segmenter.structures}

    def _part(self, images: Tensor) -> dict[str, Tensor]:
        found = self.segmenter.probabilities(resized(images.float(), self.side))
        sides = tuple(images.shape[-2:])
        return {
            name: interpolate(_scaled(p, self.segmenter.thresholds[name]), sides, mode="bilinear", antialias=True)
            for name, p in found.items()
        }


def known_masks(masker: Masker | None, images: Tensor) -> dict[str, Tensor]:
    """Soft masks of images; none without a masker, or for images below `SEGMENTED_SHARE` of its `side`."""
    if masker is None or images.shape[-1] < SEGMENTED_SHARE * getattr(masker, "side", 0):
        return {}
    return dict(masker(images))


def _scaled(probability: Tensor, threshold: float) -> Tensor:
    below = 0.5 * probability / max(threshold, 1e-6)
    above = 1 - 0.5 * (1 - probability) / max(1 - threshold, 1e-6)
    return below.where(probability < threshold, above)


def edited_masks(
    before: Tensor,
    after: Tensor,
    annotated: Mapping[str, Tensor],
    lesions: Sequence[Sequence[str]],
    find: Masker,
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
