"""Edits of photographs in the style space: change the styles, run the layers that follow, blend.

Sources: Zhao et al. 2023, section 2.3; the blends `ratio` and `delta` are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.editing.edit_request import EditRequest, excluded_lesions, one_each, parse_lesions
from monai_retina_gen.editing.gate_measures import DARK
from monai_retina_gen.editing.lesion_masks import edited_masks
from monai_retina_gen.editing.style.blend import (
    BLENDS,
    blend_delta,
    blend_ratio,
    blend_replace,
    edit_neighbourhood,
)
from monai_retina_gen.editing.style.directions import StyleShift
from monai_retina_gen.editing.style.inversion import InvertedPhotograph
from monai_retina_gen.editing.style.style_space_editor import StyleSpaceEditor
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.networks.inputs import resized

__all__ = ["PendingStyleEdits"]

UNSEEN = "the network shows no such lesion in this eye, before or after the edit"


class PendingStyleEdits:
    """The edits of one request by a `StyleSpaceEditor`: inverted, and ready to be drawn at any strength.

    Args:
        editor: of the network.
        request: square photographs, at least as large as the network's images.
        area_change: instead of strengths, wanted relative changes of the lesions' area, such as 0.25; one for all, or
            one for each.
        blend: `delta` (a difference) and `ratio` (of colours) change the photograph only around the lesion, at its own
            resolution; `replace` gives the network's image.
        step: unit of the strengths: `sigma`, `mu` or `max`; by default the directions' own.
        allow_excluded: edit also lesions that the grade excludes.
        allow_upsampling: allow `replace` to enlarge the network's images to larger photographs.
        with_masks: find the masks that did not come with the request, where a segmenter knows the photographs' size.

    Raises:
        ImageValueError: for photographs of another shape, without retina or colour; for `replace` above the network's
            side.
        ValueError: for a lesion without direction, a blend or a step that there is not.
    """

    def __init__(
        self,
        editor: StyleSpaceEditor,
        request: EditRequest,
        *,
        area_change: float | Sequence[float] | Tensor | None = None,
        blend: str = "delta",
        step: str | None = None,
        allow_excluded: bool = False,
        allow_upsampling: bool = False,
        with_masks: bool = False,
    ) -> None:
        self.editor, self.request, self.blend, self.with_masks = editor, request, blend, with_masks
        self.shift = StyleShift(editor.directions, editor.network.style_space, step=step)
        _check(request.images, blend, int(editor.network.image_size), allow_upsampling)
        self.allowed = {"allow_excluded": allow_excluded, "allow_upsampling": allow_upsampling}
        self.lesions = [parse_lesions(each, editor.directions.lesions) for each in request.lesions]
        grades = request.grades.tolist()
        found = [excluded_lesions(g, each) for g, each in zip(grades, self.lesions, strict=True)]
        self.refused = ["" if allow_excluded or not no else f"{no} (allow_excluded=True edits it)" for no in found]
        self.inverted = self._inverted()
        self.strengths = request.strengths if area_change is None else self._for_areas(area_change)

    def draw(self, rows: list[int], strengths: Tensor) -> tuple[Tensor, list[str]]:
        """Edited images of some rows, and what speaks against each; see `PendingEdits`."""
        after = self.editor.generated(*self._of(rows), strengths)
        real = self.request.images[rows]
        images = blend_replace(real, after) if self.blend == "replace" else self._blended(rows, after)
        if self.editor.masker is None:  # then a change too small to be seen cannot be told from none
            return images, [""] * len(rows)
        unchanged = (images == real).flatten(1).all(1) & (strengths.to(images.device) != 0)
        return images, [UNSEEN if same else "" for same in unchanged.tolist()]

    def masks(self, images: Tensor, strengths: Tensor) -> Mapping[str, Tensor]:
        """Masks of the edited photographs; see `edited_masks`."""
        edited = [each if strength else () for each, strength in zip(self.lesions, strengths.tolist(), strict=True)]
        request, find = self.request, self.editor.photograph_masks
        return edited_masks(request.images, images, request.masks, edited, find, all_masks=self.with_masks)

    def note(self, row: int) -> dict[str, Any]:
        """How the edit was made, for the record."""
        if row not in self.inverted:
            return {}
        made = {"blend": self.blend, "step": self.shift.step, "distance": round(self.inverted[row].distance, 6)}
        return made | {name: True for name, allowed in self.allowed.items() if allowed}

    def _inverted(self) -> dict[int, InvertedPhotograph]:
        """The rows that are not refused yet; those that invert badly are refused."""
        rows = [i for i, reason in enumerate(self.refused) if not reason]
        if not rows:
            return {}
        found = self.editor.photographs(self.request.images[rows], self.request.grades[rows])
        for row, photograph in zip(rows, found, strict=True):
            if photograph.distance > (limit := self.editor.distance_limit):
                self.refused[row] = (
                    f"the photograph lies {photograph.distance:.3f} from its reconstruction, more than {limit:.3f}: "
                    "the generator does not know this eye"
                )
        return dict(zip(rows, found, strict=True))

    def _of(self, rows: list[int]) -> tuple[list[InvertedPhotograph], StyleShift, list[tuple[str, ...]]]:
        return [self.inverted[i] for i in rows], self.shift, [self.lesions[i] for i in rows]

    def _for_areas(self, area_change: float | Sequence[float] | Tensor) -> Tensor:
        """Strengths `(B,)` at which the lesions' areas change by the wanted shares; see `strength_for_area`."""
        each = [float(x) for x in one_each("area_change", area_change, len(self.lesions))]
        wanted = torch.tensor(each, dtype=torch.float32)
        strengths, rows = torch.zeros_like(wanted), list(self.inverted)
        if rows:
            strengths[rows] = strength_for_area(lambda tried: self._areas(rows, tried), wanted[rows])
        return strengths

    def _areas(self, rows: list[int], strengths: Tensor) -> Tensor:
        """Areas `(R,)` of each row's lesions in the network's images at some strengths."""
        found = self.editor.masks(self.editor.generated(*self._of(rows), strengths))
        if not found:
            raise ValueError("area changes need a segmenter that knows the network's images; give strengths instead")
        areas = {name: mask.sum((1, 2, 3)) for name, mask in found.items()}
        each = [sum(areas[name][i] for name in self.lesions[row]) for i, row in enumerate(rows)]
        return torch.stack(each).cpu()  # type: ignore[arg-type]

    def _blended(self, rows: list[int], after: Tensor) -> Tensor:
        """The change around the lesions, brought onto the photographs."""
        real, inverted = self.request.images[rows], [self.inverted[i] for i in rows]
        before = torch.stack([each.image for each in inverted]).to(after)
        # photographs of one call have one side, so that all were segmented alike
        own = [
            {name: torch.stack([each.masks[i][name] for each in inverted]) for name in masks}
            for i, masks in enumerate(inverted[0].masks)
        ]
        given = {name: mask[rows] for name, mask in self.request.masks.items()}
        lesions = [self.lesions[row] for row in rows]
        soft = edit_neighbourhood(before, after, lesions, [*own, given], self.editor.masks(after))
        # the generator's rim may lie elsewhere: nothing is lit outside the photograph's own field of view
        seen = (resized(real, int(after.shape[-1])).amax(1, keepdim=True) > DARK).to(real)
        blend = blend_ratio if self.blend == "ratio" else blend_delta
        return blend(real, before, after, soft.to(real) * seen)


def _check(images: Tensor, blend: str, side: int, allow_upsampling: bool) -> None:
    """Raise where photographs or blend do not fit a network of `side` pixels."""
    height, width = images.shape[-2:]
    if height != width or height < side:
        raise ImageValueError(
            f"images {tuple(images.shape)}: edits want square photographs (B, 3, H, H) of at least {side} px, "
            "cropped to the field of view (CropToFieldOfView[d])"
        )
    if blend not in BLENDS:
        raise ValueError(f"blend {blend!r}: want one of {', '.join(BLENDS)}")
    if blend == "replace" and height > side and not allow_upsampling:
        raise ImageValueError(
            f"blend='replace': photographs of {height} px are larger than the generator's {side} px, whose images "
            f"would be enlarged to blur: resize them to {side} px, take blend='delta', or allow_upsampling=True"
        )


Areas = Callable[[Tensor], Tensor]


def strength_for_area(areas: Areas, wanted: Tensor, *, tries: int = 7) -> Tensor:
    """Strengths `(B,)` in [-1, 1] at which areas change by wanted shares, from -1 on, to within `2 ** -tries`.

    `areas` are taken to grow with the strength; 1 or -1 where the change cannot be reached.
    """
    if bool((wanted < -1).any()):
        raise ValueError(f"area changes {wanted.tolist()}: an area can fall by its whole at most, which is -1")
    target = areas(torch.zeros_like(wanted)) * (1 + wanted)
    sign = wanted.sign()
    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    reached = (areas(sign) - target) * sign >= 0
    for _ in range(tries):
        middle = (low + high) / 2
        over = (areas(middle * sign) - target) * sign >= 0
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    return torch.where(reached, high, torch.ones_like(high)) * sign
