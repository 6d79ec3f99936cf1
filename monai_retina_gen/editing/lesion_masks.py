"""Masks that a segmenter finds in images of any side: what directions and edits are measured by."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from monai_retina_gen.engines import FundusSegmenter
from monai_retina_gen.networks.resizing import resized

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
