"""Where photographs lie in the style space of a generator, and the descent that every inversion shares.

Sources: Abdal et al. 2019, "Image2StyleGAN", arXiv:1904.03189 (latents per layer, W+); Wu et al. 2021, "StyleSpace
Analysis", arXiv:2011.12799 (S); Karras et al. 2020, arXiv:1912.04958, section 5 (projection); Alaluf et al. 2022,
arXiv:2201.13433 (for StyleGAN3, W and W+ are more entangled than S, and the input's transform has to be held).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from monai_retina_gen.losses.feature_distance import FeatureDistance
from monai_retina_gen.losses.perceptual_pairing import OVERSHOOT
from monai_retina_gen.networks import pinned_styles
from monai_retina_gen.networks.style_encoder import flipped

SPACES = ("w", "w+", "s")
Distance = Callable[[Tensor], Tensor]
"""From images `(B, 3, S, S)` in [0, 1] to `(B,)`."""


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


class InversionError(nn.Module):
    """What is made small: `pixel_weight * mean squared error + perceptual_weight * distance`, for each photograph.

    The error is that of pixels in [-1, 1]; `distance` takes pairs `(B, 3, S, S)` in [0, 1], such as `LPIPSDR`.
    """

    def __init__(self, distance: nn.Module, *, pixel_weight: float = 1.0, perceptual_weight: float = 1.0) -> None:
        super().__init__()
        self.distance = distance
        self.pixel_weight, self.perceptual_weight = pixel_weight, perceptual_weight

    def distance_to(self, images: Tensor) -> Distance:
        """The distance from photographs in [0, 1]; what it needs of them is computed once."""
        if isinstance(self.distance, FeatureDistance):
            return self.distance.towards(images)
        return lambda made: self.distance(made, images)

    def forward(self, made: Tensor, images: Tensor, distance: Distance | None = None) -> Tensor:
        """`(B,)` of what the network made, in [-1, 1], and photographs in [0, 1]; `distance` as `distance_to` gives."""
        pixels = (made - (images * 2 - 1)).square().mean((1, 2, 3))
        seen = ((made + 1) / 2).clamp(-OVERSHOOT, 1 + OVERSHOOT)
        return self.pixel_weight * pixels + self.perceptual_weight * (distance or self.distance_to(images))(seen)


@dataclass
class StyleParameters:
    """Latents of `B` photographs that are being improved: `s = affine(w+) + sigma * offset`.

    `ws` is `(B, 1 or num_ws, w_dim)`: one latent for all layers is the space W. `offset` `(B, K)`, in units of each
    channel's deviation `sigma`, moves in the space S alone, and is penalised: a style far from all that the network was
    trained with gives no eye. `pin` holds the input's rotation and translation; `detail` stays as it is.
    """

    network: Any
    ws: Tensor
    sigma: Tensor
    offset: Tensor
    pin: bool = True
    detail: Tensor | None = None

    def styles(self, noise: Tensor | float = 0.0) -> Tensor:
        """`(B, K)`; `noise` is added to the latents."""
        ws = (self.ws + noise).expand(-1, self.network.num_ws, -1)
        styles = pinned_styles(self.network, ws) if self.pin else self.network.styles(ws)
        offset = self.offset * self.sigma
        if self.pin:
            offset = torch.cat([torch.zeros_like(offset[:, :4]), offset[:, 4:]], dim=1)
        flat: Tensor = self.network.style_space.flatten(styles) + offset
        return flat

    def image(self, styles: Tensor) -> Tensor:
        """`(B, 3, S, S)` in [-1, 1], unclamped."""
        made: Tensor = self.network.synthesize_from_styles(self.network.style_space.split(styles), detail=self.detail)
        return made


def invert_styles(
    start: StyleParameters,
    images: Tensor,
    error: InversionError,
    *,
    space: str,
    rates: list[float],
    noise: Callable[[int], Tensor | float] = lambda step: 0.0,
    offset_weight: float = 0.01,
) -> Inversion:
    """Improve latents from `start` step by step; the best of each photograph's steps is kept.

    `rates` are Adam's learning rate at each step, none leaves the start as it is; `noise` is added to the latents. The
    inversion's `distance` is `error.distance` of the clamped images.
    """
    moved = [start.ws.requires_grad_(True)] + ([start.offset.requires_grad_(True)] if space == "s" else [])
    optimizer = torch.optim.Adam(moved, lr=1.0)
    best, found, shown = images.new_full((len(images),), float("inf")), images.new_empty(0), images.new_empty(0)
    distance = error.distance_to(images)
    with torch.enable_grad():
        for step, rate in _enumerate_with_last(rates):
            styles = start.styles(noise(step) if rate is not None else 0.0)
            made = start.image(styles)
            each = error(made, images, distance)
            better = each.detach() < best
            best = torch.where(better, each.detach(), best)
            found = torch.where(better[:, None], styles.detach(), found) if step else styles.detach()
            shown = torch.where(better[:, None, None, None], made.detach(), shown) if step else made.detach()
            if rate is None:
                break
            # A sum, so that a photograph's steps do not depend on the others of its batch.
            total = (each + offset_weight * start.offset.square().mean(1)).sum()
            gradients = torch.autograd.grad(total, moved)
            for tensor, gradient in zip(moved, gradients, strict=True):
                tensor.grad = gradient
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
    with torch.no_grad():
        image = ((shown + 1) / 2).clamp(0, 1)
        return Inversion(found, image, distance(image), detail=start.detail)


def _enumerate_with_last(rates: list[float]) -> Iterator[tuple[int, float | None]]:
    """The steps, and after the last one a look at where it led."""
    yield from enumerate(rates)
    yield len(rates), None
