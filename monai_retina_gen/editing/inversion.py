"""Where photographs lie in the style space of a generator: what every inversion gives.

Sources: Abdal et al. 2019, "Image2StyleGAN", arXiv:1904.03189 (latents per layer, W+); Wu et al. 2021, "StyleSpace
Analysis", arXiv:2011.12799 (S).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Inversion", "Inverter"]


@dataclass(frozen=True)
class Inversion:
    """Photographs as styles.

    Args:
        styles: `(B, K)` float32, all style vectors in the order of the network's `style_space`.
        image: `(B, 3, S, S)` in [0, 1], what the network makes of them.
        distance: `(B,)`, `LPIPSDR` between the photographs at that side and `image`.
    """

    styles: Tensor
    image: Tensor
    distance: Tensor


@runtime_checkable
class Inverter(Protocol):
    """Finds the styles of photographs."""

    def __call__(self, images: Tensor, grades: Tensor) -> Inversion:
        """Invert `(B, 3, S, S)` in [0, 1], of the network's side, with grades `(B,)`."""
        ...
