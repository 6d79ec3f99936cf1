"""Edits of a batch of photographs by a generator that finds each one's strength under the gate itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.editing import Gate
from monai_retina_gen.editing.gate_measures import LESIONS
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.generators import GeneratorHandle
from monai_retina_gen.transforms.augment.policy import AugmentationPlan

__all__ = ["edits_under_gate", "lesion_edits"]

Edited = tuple[Tensor, GenerationRecord, dict[str, Tensor], str]
STRUCTURES = (*LESIONS, "od", "vessel")


def edits_under_gate(handle: GeneratorHandle) -> bool:
    """Whether the generator's `edit` takes a gate, and says in its records what it refused."""
    return bool(getattr(handle.get(), "edits_under_gate", False))


def lesion_edits(
    handle: GeneratorHandle,
    plans: Sequence[AugmentationPlan],
    images: Tensor,
    masks: Mapping[str, Tensor],
    sources: Sequence[str],
    groups: Sequence[str | None],
    *,
    gate: Gate | None,
    tries: int,
    options: Mapping[str, Any] | None = None,
) -> list[Edited]:
    """Images, records, masks and reasons (`""` where edited), one a plan.

    Args:
        handle: the generator.
        plans: `B` plans of the mode `edit`.
        images: `(B, 3, H, H)` in [0, 1].
        masks: `(B, 1, H, H)` by name; those of lesions are found again for the edited images.
        sources: names of the photographs.
        groups: of the photographs.
        gate: under which strengths are found.
        tries: edits of an image at most.
        options: further arguments of the generator's `edit`.

    Raises:
        ImageValueError: for masks of lesions, where the generator's segmenter does not know images of this size.
    """
    known = {name: mask for name, mask in masks.items() if name in STRUCTURES}
    arguments: dict[str, Any] = {
        "lesion": [plan.lesion for plan in plans],
        "strength": [plan.strength for plan in plans],
        "masks": known,
        "with_masks": bool(known),
    }
    batch = handle.call(
        "edit",
        images,
        [p.grade for p in plans],
        sources=sources,
        groups=groups,
        gate=gate,
        tries=tries,
        **arguments,
        **(options or {}),
    )
    refused = [str(record.options.get("refused", "")) for record in batch.records]
    stale = sorted(set(known) & set(LESIONS) - set(batch.masks))
    if stale and not all(refused):
        raise ImageValueError(
            f"masks {', '.join(stale)} would no longer fit the edited images, and the generator has no segmenter for "
            f"images of {images.shape[-1]} px: leave them out of mask_keys, or use larger images"
        )
    return [
        (batch.image[i], record, {k: m[i] for k, m in batch.masks.items()}, refused[i])
        for i, record in enumerate(batch.records)
    ]
