"""Edits of lesions in photographs: invert once, change the styles, run the layers that follow, blend.

Sources: Zhao et al. 2023, section 2.3; the blend `delta` and the gate in the loop are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_retina_gen.editing.blend import blend_delta, blend_replace, edit_neighbourhood
from monai_retina_gen.editing.directions import Directions
from monai_retina_gen.editing.edit_cache import EditCache, EditStart, image_key
from monai_retina_gen.editing.edit_request import EditRequest, check_request, check_retina
from monai_retina_gen.editing.gate_measures import DARK
from monai_retina_gen.editing.inversion import Inverter
from monai_retina_gen.editing.lesion_masks import Masker, known_masks
from monai_retina_gen.editing.strength import strength_for_area, strongest_accepted
from monai_retina_gen.editing.style_edit import StyleEdit
from monai_retina_gen.networks import StyleGAN3
from monai_retina_gen.networks.disc_side import flipped
from monai_retina_gen.networks.resizing import resized

__all__ = ["EditedPhotographs", "LesionEditor"]

UNSEEN = "the network shows no such lesion in this eye, before or after the edit"


@dataclass
class EditedPhotographs:
    """Outcome of an `EditRequest`.

    Args:
        image: `(B, 3, H, W)`; where refused, the photograph bit for bit.
        strength: `(B,)` that was used, 0 where refused.
        refused: reasons, `""` where edited.
        distance: `(B,)` of the photographs from their reconstructions.
        judge: name of the gate, `""` without one.
    """

    image: Tensor
    strength: Tensor
    refused: list[str]
    distance: Tensor
    judge: str = ""


class LesionEditor:
    """Edits photographs with one network.

    Args:
        network: a `StyleGAN3`.
        inverter: finds the styles of photographs at the network's side.
        directions: the network's lesion directions.
        masker: soft masks of images, with an attribute `side`: it is asked for images from half of that side on.
            Without one the neighbourhood of an edit is where the image changes most.
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
        distance_limit: float = float("inf"),
        cache_mb: float = 256,
    ) -> None:
        self.network = network
        self.inverter, self.masker, self.distance_limit = inverter, masker, distance_limit
        self.directions, self.cache = directions, EditCache(cache_mb)
        self._edits: dict[str, StyleEdit] = {}

    @torch.no_grad()
    def edit(self, photographs: Tensor, grades: Tensor, request: EditRequest) -> EditedPhotographs:
        """Edit `(B, 3, H, H)` photographs in [0, 1], H at least the network's side.

        Raises:
            ImageValueError: for another size, no retina or no colour, or masks of another size.
            ValueError: for a blend that there is not, or strengths outside [-1, 1].
        """
        check_request(photographs, request, int(self.network.image_size))
        starts = self.starts(photographs, grades)
        far = [start.distance > self.distance_limit for start in starts]
        refused = [self._far(start) if out else "" for start, out in zip(starts, far, strict=True)]
        rows = [i for i, out in enumerate(far) if not out]
        image, strength, judge = photographs.clone(), torch.zeros(len(photographs)), ""
        if rows:
            made, used, reasons, judge = self._made(photographs, grades, starts, request, rows)
            for row, reason in zip(rows, reasons, strict=True):
                refused[row] = reason
            kept = [i for i, reason in enumerate(reasons) if not reason]
            image[[rows[i] for i in kept]] = made[kept]
            strength[[rows[i] for i in kept]] = used[kept]
        distance = torch.tensor([start.distance for start in starts])
        return EditedPhotographs(image, strength, refused, distance, judge)

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

    def _far(self, start: EditStart) -> str:
        return (
            f"the photograph lies {start.distance:.3f} from its reconstruction, more than {self.distance_limit:.3f}: "
            "the generator does not know this eye"
        )

    def _made(
        self, photographs: Tensor, grades: Tensor, starts: list[EditStart], request: EditRequest, rows: list[int]
    ) -> tuple[Tensor, Tensor, list[str], str]:
        """Edited images of `rows`, the strengths used, reasons against them, and the gate's name."""
        own = [starts[i] for i in rows]
        lesions = [request.lesions[i] for i in rows]
        if request.strengths is not None:
            strengths = request.strengths[rows].float()
        else:
            assert request.area_changes is not None  # checked before
            strengths = self._for_areas(own, lesions, request.area_changes[rows].float(), request.step)
        real = photographs[rows]
        masks = {name: mask[rows] for name, mask in request.masks.items()}
        made, judges = real.clone(), [""]

        def attempt(few: list[int], tried: Tensor) -> list[str]:
            images = self._blended(real[few], [own[i] for i in few], [lesions[i] for i in few], tried,
                                   request, {n: m[few] for n, m in masks.items()})  # fmt: skip
            whole = [rows[i] for i in few]
            reasons, judges[0] = _reasons(images, real[few], grades[whole], request, whole)
            if self.masker is not None:  # else a change too small to be seen cannot be told from none
                unchanged = (images == real[few]).flatten(1).all(1) & (tried.to(images.device) != 0)
                reasons = [UNSEEN if same else reason for same, reason in zip(unchanged.tolist(), reasons, strict=True)]
            for i, image, reason in zip(few, images, reasons, strict=True):
                made[i] = made[i] if reason else image
            return reasons

        used, reasons = strongest_accepted(attempt, strengths, tries=request.tries if request.gate else 1)
        return made, used, reasons, judges[0]

    def _blended(
        self,
        real: Tensor,
        starts: list[EditStart],
        lesions: list[tuple[str, ...]],
        strengths: Tensor,
        request: EditRequest,
        masks: Mapping[str, Tensor],
    ) -> Tensor:
        after = self.generated(starts, lesions, strengths, request.step)
        if request.blend == "replace":
            return blend_replace(real, after)
        before = torch.stack([start.image for start in starts]).to(after)
        found = self.masks(after)
        soft = []
        for i, start in enumerate(starts):
            own = [{n: m[None] for n, m in each.items()} for each in start.masks]
            others = [{n: m[[i]] for n, m in each.items()} for each in (found, masks)]
            known = all(name in found for name in lesions[i])
            soft.append(edit_neighbourhood(before[[i]], after[[i]], lesions[i], [*own, *others], segmented=known))
        # the generator's rim may lie elsewhere: nothing is lit outside the photograph's own field of view
        seen = (resized(real.float(), int(after.shape[-1])).amax(1, keepdim=True) > DARK).to(real)
        return blend_delta(real, before, after, torch.cat(soft).to(real) * seen)

    def _for_areas(
        self, starts: list[EditStart], lesions: list[tuple[str, ...]], wanted: Tensor, step: str | None = None
    ) -> Tensor:
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


def _reasons(
    images: Tensor, real: Tensor, grades: Tensor, request: EditRequest, rows: list[int]
) -> tuple[list[str], str]:
    """The gate's reasons against edits, and its name."""
    if request.gate is None:
        return [""] * len(images), ""
    groups = None if request.groups is None else [request.groups[i] for i in rows]
    verdict = request.gate.check(images, grades.tolist(), real, groups)
    return list(verdict.reasons), verdict.judge
