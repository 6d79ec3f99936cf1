"""What comes of a plan, and how it is written to an image: the same for the array, dictionary and batch forms."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from monai_retina_gen.data.record import RECORD_KEY, GenerationRecord
from monai_retina_gen.transforms.augment.canvases import CanvasEye
from monai_retina_gen.transforms.crop_field_of_view import META_KEY as FIELD_KEY
from monai_retina_gen.transforms.image_order import turned

SAME_RADIUS = 0.03  # share by which the radii of two fields of view may differ
REFUSED_KEY = "generation_refused"
"""Key in `MetaTensor.meta` for why the real image was kept; `""` otherwise."""


@dataclass(frozen=True)
class Outcome:
    """An image with its record, or the real image with the reason why it stays. The default: nothing was planned.

    `image` is `(3, H, W)` and `masks` `(1, H, W)`, in [0, 1]; `eye` is the canvas that the item has become, if it has.
    """

    image: Tensor | None = None
    record: GenerationRecord | None = None
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    refused: str = ""
    eye: CanvasEye | None = None


def finish(image: Tensor, outcome: Outcome, order: str) -> tuple[Tensor, dict[str, str]]:
    """The image `(3, H, W)` in `order` as its outcome leaves it, and what is said of it; what came is not written to.

    Notes are under `RECORD_KEY` the record as JSON, under `REFUSED_KEY` the reason, each `""` where there is none.
    """
    # Both notes are always there: MONAI collates only the keys that all items of a batch have.
    notes = {RECORD_KEY: outcome.record.to_json() if outcome.record else "", REFUSED_KEY: outcome.refused}
    if outcome.image is not None:
        real = image
        if outcome.eye is not None and isinstance(image, MetaTensor):
            real = _with_metadata(image.as_tensor(), outcome.eye.image)
            real.meta["image_order"] = order
        image = taken_over(real, turned(outcome.image, order))
    return with_notes(image, notes), notes


def item_notes(key: Any, notes: Mapping[str, Any]) -> dict[str, Any]:
    """The notes as items of a dictionary: `<key>_generated` and `<key>_refused`."""
    return {f"{key}_generated": notes[RECORD_KEY], f"{key}_refused": notes[REFUSED_KEY]}


def with_notes(image: Tensor, notes: Mapping[str, Any]) -> Tensor:
    """The same pixels with the notes in metadata of their own; plain tensors stay as they are."""
    if not isinstance(image, MetaTensor):
        return image
    noted = _with_metadata(image.as_tensor(), image)
    noted.meta.update(notes)
    return noted


def taken_over(real: Tensor, made: Tensor) -> Tensor:
    """Generated values with the real tensor's dtype, device and metadata."""
    made = made.to(dtype=real.dtype, device=real.device).contiguous()
    return _with_metadata(made, real) if isinstance(real, MetaTensor) else made


def _with_metadata(pixels: Tensor, real: MetaTensor) -> MetaTensor:
    made = MetaTensor(pixels)
    made.copy_meta_from(real)  # copies of its dictionary and lists; knows batches
    return made


def warn_of_other_field(image: Tensor, outcomes: Sequence[Outcome]) -> None:
    """Warn, once in a process, where items get sampled images whose field of view is not theirs, by their metadata.

    A generator's retina touches the four sides of its square. In items that were only resized, or cropped with a
    margin, it does not: a single edge then tells generated from real, and a grader learns the edge.
    """
    sampled = any(outcome.record is not None and outcome.record.mode == "sample" for outcome in outcomes)
    if not sampled or not isinstance(image, MetaTensor):
        return
    geometry = image.meta.get(FIELD_KEY)
    if geometry is None:
        _warn("were not cropped by CropToFieldOfView[d]")
        return
    radius, side = (torch.as_tensor(geometry[key], dtype=torch.float64) for key in ("radius_y", "box_height"))
    share = float((2 * radius / side).sub(1).abs().max())
    if share > SAME_RADIUS:
        _warn("were cropped with a margin, or have no visible rim")


@functools.cache
def _warn(how: str) -> None:
    warnings.warn(
        f"The items {how}, but sampled images show a retina that touches all four sides: a grader can tell generated "
        "from real by that edge alone. Crop with CropToFieldOfView[d](margin=0), or use mode='edit', which keeps the "
        "photograph's own field of view.",
        UserWarning,
        stacklevel=5,
    )
