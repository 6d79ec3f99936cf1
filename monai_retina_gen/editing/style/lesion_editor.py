"""Photographs in the style space of one network: inverted once, then drawn again with other styles.

Sources: Zhao et al. 2023, section 2.3; running only the layers that follow an edit is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_retina_gen.editing.edit_cache import EditCache, image_key
from monai_retina_gen.editing.edit_request import check_retina
from monai_retina_gen.editing.lesion_masks import Masker, known_masks
from monai_retina_gen.editing.style.directions import Directions
from monai_retina_gen.editing.style.edit_start import EditStart
from monai_retina_gen.editing.style.inversion import Inverter
from monai_retina_gen.editing.style.strength import strength_for_area
from monai_retina_gen.editing.style.style_edit import StyleEdit
from monai_retina_gen.networks import StyleGAN3
from monai_retina_gen.networks.disc_side import flipped
from monai_retina_gen.networks.resizing import resized

__all__ = ["LesionEditor"]


class LesionEditor:
    """What edits of photographs by one network need, kept between calls.

    Args:
        network: a `StyleGAN3`.
        inverter: finds the styles of photographs at the network's side.
        directions: the network's lesion directions.
        masker: soft masks of the network's images, with an attribute `side`: it is asked for images from half of that
            side on. Without one the neighbourhood of an edit is where the image changes most.
        photograph_masker: finds masks of photographs that are large enough for it; else `masker` does.
        distance_limit: photographs whose reconstruction is farther away are refused.
        cache_mb: memory for photographs that were edited before.
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
        self.network = network
        self.inverter, self.masker, self.distance_limit = inverter, masker, distance_limit
        self.photograph_masker = photograph_masker
        self.directions = directions
        self.cache: EditCache[EditStart] = EditCache(cache_mb)
        self._edits: dict[str, StyleEdit] = {}

    def style_edit(self, step: str | None = None) -> StyleEdit:
        """The edits of styles in a unit of the strength; `None` for the directions' own."""
        unit = step or self.directions.step
        if unit not in self._edits:
            self._edits[unit] = StyleEdit(self.directions, self.network.style_space, step=unit)
        return self._edits[unit]

    def starts(self, photographs: Tensor, grades: Tensor) -> list[EditStart]:
        """Inversions of photographs, from the cache where they are there; all others in one batch."""
        keys = [image_key(image, int(grade)) for image, grade in zip(photographs, grades, strict=True)]
        found = {key: self.cache.get(key) for key in keys}
        new = {key: i for i, key in enumerate(keys) if found[key] is None}
        if new:
            rows = list(new.values())
            for key, start in zip(new, self._inverted(photographs[rows], grades[rows]), strict=True):
                self.cache.put(key, start)
                found[key] = start
        return [each for key in keys if (each := found[key]) is not None]

    def masks(self, images: Tensor) -> dict[str, Tensor]:
        """Soft masks of images that are large enough for the segmenter; else none."""
        return known_masks(self.masker, images)

    def photograph_masks(self, images: Tensor) -> dict[str, Tensor]:
        """Soft masks of photographs, of any side that one of the segmenters knows; else none."""
        return known_masks(self.photograph_masker, images) or self.masks(images)

    def generated(
        self,
        starts: Sequence[EditStart],
        lesions: Sequence[tuple[str, ...]],
        strengths: Tensor,
        step: str | None = None,
    ) -> Tensor:
        """The generator's edited images `(B, 3, S, S)` in [0, 1], from the kept outputs of the layers before."""
        edit = self.style_edit(step)
        device = next(self.network.parameters()).device
        styles = torch.stack([start.styles for start in starts]).to(device)
        new = edit(styles, lesions, strengths)
        firsts = [edit.first_layer(each) for each in lesions]
        made = torch.empty(0)
        for first in sorted(set(firsts)):
            rows = [i for i, each in enumerate(firsts) if each == first]
            features = self._features([starts[i] for i in rows], first) if first else None
            parts = self.network.style_space.split(new[rows])
            images = self.network.synthesis.run(parts, start_layer=first, features=features)
            made = made if len(made) else images.new_empty(len(starts), *images.shape[1:])
            made[rows] = images
        mirrored = torch.tensor([start.mirrored for start in starts])
        return flipped(((made.float() + 1) / 2).clamp(0, 1), mirrored)

    def _inverted(self, photographs: Tensor, grades: Tensor) -> list[EditStart]:
        for image in photographs:
            check_retina(image)
        found = self.inverter(resized(photographs.float(), int(self.network.image_size)), grades)
        seen = [m for m in (self.masks(photographs), self.masks(found.image)) if m]
        if len(seen) == 2 and photographs.shape[-1] == found.image.shape[-1]:
            seen = seen[1:]  # the reconstruction's own are the ones that the edited image is compared with
        return [
            EditStart(
                found.styles[i].detach(),
                found.image[i].detach(),
                float(found.distance[i]),
                [{name: mask[i] for name, mask in each.items()} for each in seen],
                mirrored=found.mirrored is not None and bool(found.mirrored[i]),
            )
            for i in range(len(photographs))
        ]

    def strengths_for_areas(
        self, starts: list[EditStart], lesions: list[tuple[str, ...]], wanted: Tensor, step: str | None = None
    ) -> Tensor:
        """Strengths `(B,)` at which the lesions' areas change by `wanted` shares; see `strength_for_area`.

        Raises:
            ValueError: where no segmenter knows the network's images, or for a change below -1.
        """

        def areas(strengths: Tensor) -> Tensor:
            found = self.masks(self.generated(starts, lesions, strengths, step))
            if not found:
                raise ValueError(
                    "area changes need a segmenter that knows the network's images; give strengths instead"
                )
            return torch.stack([sum(found[n][i].sum() for n in each) for i, each in enumerate(lesions)]).cpu()  # type: ignore[misc]

        return strength_for_area(areas, wanted)

    def _features(self, starts: list[EditStart], layer: int) -> Tensor:
        """Outputs of the layer before `layer`, kept with the photographs."""
        new = [start for start in starts if layer not in start.features]
        if new:
            device = next(self.network.parameters()).device
            styles = self.network.style_space.split(torch.stack([start.styles for start in new]).to(device))
            for start, row in zip(new, self.network.synthesis.run(styles, stop_layer=layer), strict=True):
                start.features[layer] = row.clone()  # not a view that keeps its batch
        return torch.stack([start.features[layer] for start in starts])
