"""What a style edit of a photograph starts from: styles, reconstruction, masks and layer outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["EditStart"]


@dataclass
class EditStart:
    """A photograph in the style space.

    Args:
        styles: `(K,)`.
        image: `(3, S, S)` in [0, 1], the generator's unedited image.
        distance: of the photograph from it.
        masks: soft masks of the photograph and of `image`, where a segmenter knows their size.
        features: outputs of layers, by the layer that reads them.
        mirrored: the styles make the mirror image of `image`.
    """

    styles: Tensor
    image: Tensor
    distance: float
    masks: list[Mapping[str, Tensor]] = field(default_factory=list)
    features: dict[int, Tensor] = field(default_factory=dict)
    mirrored: bool = False

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        maps = [mask for each in self.masks for mask in each.values()]
        return sum(x.nbytes for x in (self.styles, self.image, *maps, *self.features.values()))
