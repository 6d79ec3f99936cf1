"""What `synthesize` needs besides a generator: its condition, from an item's masks or composed, at its own size."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.utils import ensure_tuple
from torch import Tensor

from monai_retina_gen.data import CONDITION_KEYS, LESION_MASKS, MASK_KEYS, MaskComposer
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.transforms.augment.outcome import Outcome
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.compose_masks import ComposerHandle


class ConditionMasks:
    """Makes the masks that images are synthesized from: the item's, or composed from a lesion bank."""

    def __init__(self, lesion_bank: str | os.PathLike[str] | MaskComposer | None = None) -> None:
        self.composer = None if lesion_bank is None else ComposerHandle(lesion_bank)

    def __call__(
        self, plans: Sequence[AugmentationPlan], masks: Mapping[str, Tensor], size: Sequence[int]
    ) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        """Masks `(B, 1, H, W)` in [0, 1] by name for `B` plans, and what the records say of each.

        `ImageValueError` for masks of another size than the images, or none.
        """
        plain = {name: mask.float().clamp(0, 1) for name, mask in masks.items()}
        _check_masks(plain, size)
        if self.composer is None:
            return plain, [{} for _ in plans]
        composer = self.composer.get()
        anatomy = {name: mask for name, mask in plain.items() if name not in LESION_MASKS}
        made = [
            composer.compose({name: mask[row].cpu() for name, mask in anatomy.items()}, plan.grade, seed=plan.seed)
            for row, plan in enumerate(plans)
        ]
        device = next(iter(anatomy.values())).device
        names = [name for name in LESION_MASKS if name in composer.lesions or name in plain]  # none of it: empty
        lesions = {name: torch.stack([one.masks[name] for one in made]).to(device) for name in names}
        return {**anatomy, **lesions}, [{"composed_from": one.profile} for one in made]


def check_mask_keys(mask_keys: Sequence[str] | str) -> tuple[str, ...]:
    """Keys of masks as a tuple; `ValueError` for one that names no mask that there is."""
    keys: tuple[str, ...] = ensure_tuple(mask_keys)
    if unknown := [key for key in keys if key not in MASK_KEYS]:
        raise ValueError(f"mask_keys: unknown {unknown}; masks are called {', '.join(MASK_KEYS)}")
    return keys


def check_masks_follow(modes: Sequence[str], mask_keys: Sequence[str], *, made_elsewhere: bool) -> None:
    """`ValueError` where image and masks could not stay together.

    `made_elsewhere`: `synthesize` needs no masks of the item, with a bank or on canvases.
    """
    if mask_keys and "sample" in modes:
        raise ValueError(
            f"mask_keys={list(mask_keys)} with the mode 'sample': a sample is another eye, to which the item's masks "
            "do not belong. Use mode='synthesize', which changes image and masks together, or leave mask_keys out and "
            "drop the masks from the items"
        )
    if "synthesize" in modes and not mask_keys and not made_elsewhere:
        raise ValueError(
            "mode 'synthesize' needs mask_keys: the keys of the masks that images are made from, such as "
            "('vessel', 'od', 'fov', 'ma', 'he', 'ex', 'se')"
        )


def check_stale_masks(item: Mapping[Any, Any], mask_keys: Sequence[str], outcome: Outcome) -> None:
    """`ValueError` where a mask in the item would describe an image that is no longer there."""
    record, made = outcome.record, outcome.masks
    if record is None or record.mode not in ("edit", "synthesize"):
        return
    changed = str(record.options.get("lesion", "")).split("+") if record.mode == "edit" else CONDITION_KEYS
    stale = [key for key in changed if isinstance(item.get(key), Tensor) and key not in mask_keys]
    if stale:
        raise ValueError(
            f"mask_keys={list(mask_keys)}: the item also holds the masks {stale}, which would not belong to the "
            "changed image; add them to mask_keys, or drop them from the item before this transform"
        )
    lacking = [key for key in mask_keys if key in item and key in changed and key not in made]
    if lacking:
        raise ValueError(f"mask_keys {lacking}: the image was made without these masks; it has {sorted(made)}")


def _check_masks(masks: Mapping[str, Tensor], size: Sequence[int]) -> None:
    if not masks:
        raise ImageValueError("masks: none came; mode 'synthesize' makes images from masks (mask_keys)")
    wrong = {name: tuple(mask.shape[-2:]) for name, mask in masks.items() if tuple(mask.shape[-2:]) != tuple(size)}
    if wrong:
        raise ImageValueError(
            f"masks: {wrong} came with images of {tuple(size)}; masks have the size of their image "
            "(CropToFieldOfViewd with mask_keys crops them together)"
        )
