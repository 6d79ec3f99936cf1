"""Where photographs lie in the style space of a generator: what every inversion gives.

Sources: Abdal et al. 2019, "Image2StyleGAN", arXiv:1904.03189 (latents per layer, W+); Wu et al. 2021, "StyleSpace
Analysis", arXiv:2011.12799 (S).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from monai_retina_gen.networks.disc_side import flipped


@dataclass(frozen=True)
class Inversion:
    """Photographs as styles `(B, K)`, in the order of the network's `style_space`, and the image that it makes of them.

    `distance` is `LPIPSDR` between the photographs at that side and `image`. `mirrored` `(B,)` tells photographs that
    were mirrored first: their styles make the mirror image of `image`; `detail` is what a `DetailEncoder` saw in them.
    """

    styles: Tensor
    image: Tensor
    distance: Tensor
    mirrored: Tensor | None = None
    detail: Tensor | None = None


@dataclass
class InvertedPhotograph:
    """One photograph in the style space (see `Inversion`), and what edits of it need again.

    `masks` are soft ones of the photograph and of `image`, where a segmenter knows their size, `features` outputs of
    layers by the layer that reads them.
    """

    styles: Tensor
    image: Tensor
    distance: float
    mirrored: bool = False
    masks: list[Mapping[str, Tensor]] = field(default_factory=list)
    features: dict[int, Tensor] = field(default_factory=dict)
    detail: Tensor | None = None

    @classmethod
    def rows(cls, found: Inversion) -> list[InvertedPhotograph]:
        """The photographs of an inversion one by one; a GPU is waited for once."""
        mirrored = torch.zeros_like(found.distance) if found.mirrored is None else found.mirrored.to(found.distance)
        numbers = torch.stack([found.distance, mirrored]).detach().T.tolist()
        parts = zip(found.styles.detach(), found.image.detach(), numbers, strict=True)
        details = [None] * len(numbers) if found.detail is None else [row.clone() for row in found.detail.detach()]
        rows = zip(parts, details, strict=True)
        return [cls(s, image, distance, side > 0, detail=own) for (s, image, (distance, side)), own in rows]

    def state(self) -> dict[str, Tensor]:
        """What a file keeps of it; masks and features are made again."""
        numbers = {"distance": torch.tensor(self.distance), "mirrored": torch.tensor(self.mirrored)}
        kept = {"styles": self.styles, "image": self.image, **numbers}
        return kept if self.detail is None else {**kept, "detail": self.detail}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> InvertedPhotograph:
        """From what `state` gave."""
        distance, mirrored = float(state["distance"]), bool(state["mirrored"])
        return cls(state["styles"], state["image"], distance, mirrored, detail=state.get("detail"))


def joined(parts: Sequence[Inversion], mirrored: Tensor | None = None) -> Inversion:
    """One inversion of batches inverted one after the other; images that were mirrored are mirrored back."""
    styles, image, distance = (torch.cat([getattr(part, n) for part in parts]) for n in ("styles", "image", "distance"))
    maps = [part.detail for part in parts if part.detail is not None]
    return Inversion(styles, flipped(image, mirrored), distance, mirrored, torch.cat(maps) if maps else None)


@runtime_checkable
class Inverter(Protocol):
    """Finds the styles of photographs."""

    def __call__(self, images: Tensor, grades: Tensor) -> Inversion:
        """Invert `(B, 3, S, S)` in [0, 1], of the network's side, with grades `(B,)`."""
        ...
