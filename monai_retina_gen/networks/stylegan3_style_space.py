"""Style space: all style vectors of a synthesis network as one flat vector.

Source: Wu et al., "StyleSpace Analysis", arXiv:2011.12799: channels of this space are more disentangled than w.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

__all__ = ["StyleSpace"]


class StyleSpace:
    """Map between the flat index k of a style channel and its (layer, channel).

    Args:
        names: of the layers, in the order of the style list.
        widths: style channels of each layer.

    Examples:
        >>> space = StyleSpace(names=["input", "L0", "rgb"], widths=[4, 8, 8])
        >>> space.size, space.locate(5), space.index(1, 1)
        (20, (1, 1), 5)
        >>> [s.shape[1] for s in space.split(torch.zeros(2, 20))]
        [4, 8, 8]
    """

    def __init__(self, *, names: Sequence[str], widths: Sequence[int]) -> None:
        self.names, self.widths = tuple(names), tuple(widths)
        self.offsets = (0, *accumulate(self.widths))
        self.size = self.offsets[-1]

    def locate(self, k: int) -> tuple[int, int]:
        """Layer (index into the style list) and channel of the flat index `k`."""
        if not 0 <= k < self.size:
            raise IndexError(f"style channel {k} is not in 0..{self.size - 1}")
        layer = bisect_right(self.offsets, k) - 1
        return layer, k - self.offsets[layer]

    def index(self, layer: int, channel: int) -> int:
        """Flat index of a channel of a layer."""
        if not 0 <= layer < len(self.widths) or not 0 <= channel < self.widths[layer]:
            raise IndexError(f"layer {layer}, channel {channel} is not in this space: widths are {self.widths}")
        return self.offsets[layer] + channel

    def flatten(self, styles: Sequence[Tensor]) -> Tensor:
        """Styles of all layers as `(B, size)`."""
        self.check(styles)
        return torch.cat(list(styles), dim=1)

    def split(self, flat: Tensor) -> list[Tensor]:
        """The style list of `(B, size)`."""
        if flat.ndim != 2 or flat.shape[1] != self.size:
            raise ValueError(f"flat styles must be (B, {self.size}), got {tuple(flat.shape)}")
        return list(flat.split(self.widths, dim=1))

    def check(self, styles: Sequence[Tensor]) -> None:
        """Raise `ValueError` unless `styles` has one `(B, width)` tensor for each layer."""
        got = tuple(tuple(style.shape[1:]) for style in styles)
        if got != tuple((width,) for width in self.widths):
            raise ValueError(f"styles must be {len(self.widths)} tensors (B, width) of widths {self.widths}, got {got}")
