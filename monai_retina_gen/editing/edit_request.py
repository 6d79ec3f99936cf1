"""What an edit is asked for, and what photographs it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from monai_retina_gen.data.field_of_view import find_field_of_view
from monai_retina_gen.editing.blend import BLENDS
from monai_retina_gen.editing.gate_measures import DARK
from monai_retina_gen.editing.label_gate import Gate
from monai_retina_gen.errors import ImageValueError

__all__ = ["EditRequest", "check_request", "check_retina"]

GREY = 0.02
"""Mean difference of red and blue inside the retina below which a photograph has no colour."""


@dataclass(frozen=True)
class EditRequest:
    """Edits of `B` photographs.

    Args:
        lesions: of each.
        strengths: `(B,)` in [-1, 1]; `None` where `area_changes` are given.
        area_changes: `(B,)` wanted changes of the lesions' area, relative, instead of strengths.
        blend: `delta` or `replace`.
        step: unit of the strengths, see `StyleEdit`; `None` for the directions' own.
        gate: the strongest edit that it accepts is made, up to the strength that is asked for.
        groups: of the photographs, for the gate.
        tries: edits of a photograph at most, under the gate.
        masks: lesion masks of the photographs, `(B, 1, H, W)` by name, where they are known.
    """

    lesions: list[tuple[str, ...]]
    strengths: Tensor | None = None
    area_changes: Tensor | None = None
    blend: str = "delta"
    step: str | None = None
    gate: Gate | None = None
    groups: Sequence[str | None] | None = None
    tries: int = 4
    masks: Mapping[str, Tensor] = field(default_factory=dict)


def check_request(photographs: Tensor, request: EditRequest, side: int) -> None:
    """Raise where photographs `(B, 3, H, W)` or a request do not fit a network of `side` pixels."""
    size = tuple(photographs.shape[-2:])
    if photographs.ndim != 4 or photographs.shape[1] != 3 or size[0] != size[1] or size[0] < side:
        raise ImageValueError(
            f"images {tuple(photographs.shape)}: edits want square photographs (B, 3, H, H) of at least {side} px, "
            "cropped to the field of view (CropToFieldOfView[d])"
        )
    if request.blend not in BLENDS:
        raise ValueError(f"blend {request.blend!r}: want one of {', '.join(BLENDS)}")
    if (request.strengths is None) == (request.area_changes is None):
        raise ValueError("give either strengths or area changes")
    if request.strengths is not None and not bool((request.strengths.abs() <= 1).all()):
        raise ValueError(f"strengths {request.strengths.tolist()[:8]}: want numbers in [-1, 1]")
    for name, mask in request.masks.items():
        if mask.shape != (len(photographs), 1, *size):
            raise ImageValueError(
                f"mask {name!r}: shape {tuple(mask.shape)} came for photographs {tuple(photographs.shape)}; wanted "
                f"({len(photographs)}, 1, {size[0]}, {size[1]}): crop masks together with their photograph"
            )


def check_retina(image: Tensor) -> None:
    """Raise `ImageValueError` where `(3, H, W)` shows no retina, or one without colour."""
    find_field_of_view(image)
    inside = image.amax(0) > DARK
    if bool(inside.any()) and float((image[0] - image[2])[inside].abs().mean()) < GREY:
        raise ImageValueError(
            "image: no colour (an angiogram, infrared or OCT picture?); edits want colour photographs of the retina"
        )
