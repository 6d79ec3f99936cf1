"""Photographs in the style space of one network: inverted once, then drawn again with other styles.

Sources: Zhao et al. 2023, section 2.3; running only the layers that follow an edit is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_retina_gen.editing.edit_request import check_retinas
from monai_retina_gen.editing.lesion_masks import Masker, known_masks
from monai_retina_gen.editing.photograph_cache import PhotographCache
from monai_retina_gen.editing.style.directions import Directions, StyleShift
from monai_retina_gen.editing.style.inversion import InvertedPhotograph, Inverter
from monai_retina_gen.networks import StyleGAN3
from monai_retina_gen.networks.inputs import resized
from monai_retina_gen.networks.style_encoder import flipped


class StyleSpaceEditor:
    """What edits of photographs by one network need, kept between calls; `PendingStyleEdits` are the edits of one call.

    `masker` gives soft masks of the network's images, `photograph_masker` those of photographs that are large enough
    for it; without either the neighbourhood of an edit is where the image changes most. Photographs whose
    reconstruction is farther away than `distance_limit` are refused.
    """

    def __init__(
        self,
        network: StyleGAN3,
        inverter: Inverter,
        directions: Directions,
        *,
        masker: Masker | None = None,
        photograph_masker: Masker | None = None,
        distance_limit: float = float("inf"),
        cache_mb: float = 256,
    ) -> None:
        self.network, self.inverter, self.directions = network, inverter, directions
        self.masker, self.photograph_masker = masker, photograph_masker
        self.distance_limit = distance_limit
        self.cache: PhotographCache[InvertedPhotograph] = PhotographCache(cache_mb)

    def photographs(self, images: Tensor, grades: Tensor) -> list[InvertedPhotograph]:
        """Photographs `(B, 3, H, H)` inverted, from the cache where they are there; all others in one batch."""
        return self.cache.entries(images, grades, self._inverted)

    def masks(self, images: Tensor) -> dict[str, Tensor]:
        """Soft masks of images that are large enough for the segmenter; else none."""
        return known_masks(self.masker, images)

    def photograph_masks(self, images: Tensor) -> dict[str, Tensor]:
        """Soft masks of photographs, of any side that one of the segmenters knows; else none."""
        return known_masks(self.photograph_masker, images) or self.masks(images)

    def generated(
        self,
        photographs: Sequence[InvertedPhotograph],
        shift: StyleShift,
        lesions: Sequence[tuple[str, ...]],
        strengths: Tensor,
    ) -> Tensor:
        """The generator's edited images `(B, 3, S, S)` in [0, 1], from the kept outputs of the layers before."""
        new = shift(self._styles(photographs), lesions, strengths)
        firsts = [shift.first_layer(each) for each in lesions]
        made = torch.empty(0)
        for first in sorted(set(firsts)):
            rows = [i for i, each in enumerate(firsts) if each == first]
            features = self._features([photographs[i] for i in rows], first) if first else None
            parts = self.network.style_space.split(new[rows] if len(rows) < len(new) else new)
            detail = self._detail([photographs[i] for i in rows])
            images = self.network.synthesis.run(parts, start_layer=first, features=features, detail=detail)
            if len(rows) == len(new):
                made = images
                break
            made = made if len(made) else images.new_empty(len(new), *images.shape[1:])
            made[rows] = images
        mirrored = torch.tensor([each.mirrored for each in photographs])
        return flipped(((made.float() + 1) / 2).clamp(0, 1), mirrored)

    def _styles(self, photographs: Sequence[InvertedPhotograph]) -> Tensor:
        return torch.stack([each.styles for each in photographs]).to(next(self.network.parameters()).device)

    def _detail(self, photographs: Sequence[InvertedPhotograph]) -> Tensor | None:
        maps = [each.detail for each in photographs if each.detail is not None]
        return torch.stack(maps).to(next(self.network.parameters()).device) if maps else None

    def _inverted(self, photographs: Tensor, grades: Tensor) -> list[InvertedPhotograph]:
        check_retinas(photographs)
        found = self.inverter(resized(photographs.float(), int(self.network.image_size)), grades)
        seen = [m for m in (self.masks(photographs), self.masks(found.image)) if m]
        if len(seen) == 2 and photographs.shape[-1] == found.image.shape[-1]:
            seen = seen[1:]  # the reconstruction's own are the ones that the edited image is compared with
        entries = InvertedPhotograph.rows(found)
        for i, entry in enumerate(entries):
            entry.masks = [{name: mask[i] for name, mask in each.items()} for each in seen]
        return entries

    def _features(self, photographs: list[InvertedPhotograph], layer: int) -> Tensor:
        """Outputs of the layer before `layer`, kept with the photographs."""
        new = [each for each in photographs if layer not in each.features]
        if new:
            styles = self.network.style_space.split(self._styles(new))
            made = self.network.synthesis.run(styles, stop_layer=layer, detail=self._detail(new))
            for each, row in zip(new, made, strict=True):
                each.features[layer] = row.clone()  # not a view that keeps its batch
        return torch.stack([each.features[layer] for each in photographs])
