"""`GenerativeAugmentd`: generative augmentation of dictionary items."""

from __future__ import annotations

import os
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import RandomizableTransform

from monai_retina_gen.data import MaskComposer
from monai_retina_gen.editing import Gate
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.transforms.augment.conditions import check_mask_keys
from monai_retina_gen.transforms.augment.generative_augment import GenerativeAugment
from monai_retina_gen.transforms.augment.planned import PlannedTransformd
from monai_retina_gen.transforms.augment.policy import DEFAULT_STRENGTH

__all__ = ["GenerativeAugmentD", "GenerativeAugmentDict", "GenerativeAugmentd"]


class GenerativeAugmentd(PlannedTransformd, RandomizableTransform):
    """Dictionary form of `GenerativeAugment`: replaces `keys` by a generated image of the item's grade.

    Args:
        keys: image key(s). Several keys get the image of the same plan.
        label_key: key of the grade.
        mask_keys: keys of masks `(1, H, W)`. `synthesize` starts from them and replaces them together with the image
            (with `lesion_bank`, lesions that an item lacks are added where `allow_missing_keys` lets it lack them); an
            `edit` changes those of the edited lesions, where the edit is. Not with the mode `sample`.
        group_key: key of the photograph or patient that an item belongs to, where it has one, as in the package's
            datalists: the gate's cross-fitted graders judge an edit only by networks that never saw its group.
        allow_missing_keys: leave out image and mask keys that an item lacks; else they are an error.

    The other arguments are those of `GenerativeAugment`. The item gains `<key>_generated`: the record as JSON, `""` for
    a real image; and `<key>_refused`: why the real image stays where another was wanted, else `""`. Grades and all
    other keys stay.

    Examples:
        >>> import torch
        >>> from monai_retina_gen.generators import VAEGenerator
        >>> from monai_retina_gen.networks import FundusVAE
        >>> vae = VAEGenerator(FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8)))
        >>> augment = GenerativeAugmentd(keys="image", label_key="grade", generator=vae, prob=1.0, image_order="CHW")
        >>> item = augment({"image": torch.zeros(3, 64, 64), "grade": 4})
        >>> sorted(item), item["grade"]
        (['grade', 'image', 'image_generated', 'image_refused'], 4)
    """

    augment: GenerativeAugment

    def __init__(
        self,
        keys: KeysCollection,
        label_key: Hashable = "grade",
        *,
        mask_keys: Sequence[str] = (),
        group_key: Hashable = "group",
        allow_missing_keys: bool = False,
        generator: str | os.PathLike[str] | RetinaGenerator | None = None,
        mode: str | Mapping[str, float] = "sample",
        prob: float | Mapping[Any, float] | str = 0.5,
        counts: Mapping[Any, int] | None = None,
        lesion: str | Sequence[str] = (),
        strength: Sequence[float] = DEFAULT_STRENGTH,
        gate: str | Gate | None = None,
        max_retries: int = 3,
        bank: str | os.PathLike[str] | None = None,
        image_order: str | None = None,
        allow_upsampling: bool = False,
        device: str = "cpu",
        trust_code: bool = False,
        lesion_bank: str | os.PathLike[str] | MaskComposer | None = None,
        synthesize_options: Mapping[str, Any] | None = None,
        edit_options: Mapping[str, Any] | None = None,
        canvas: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        canvas_grades: Collection[int] = (2, 3),
        background: float | None = None,
        label_grades: Mapping[Any, Any] | None = None,
    ) -> None:
        RandomizableTransform.__init__(self, prob=1.0)
        augment = GenerativeAugment(
            generator=generator,
            mode=mode,
            prob=prob,
            counts=counts,
            lesion=lesion,
            strength=strength,
            gate=gate,
            max_retries=max_retries,
            bank=bank,
            image_order=image_order,
            allow_upsampling=allow_upsampling,
            device=device,
            trust_code=trust_code,
            lesion_bank=lesion_bank,
            synthesize_options=synthesize_options,
            edit_options=edit_options,
            canvas=canvas,
            canvas_grades=canvas_grades,
            background=background,
            label_grades=label_grades,
        )
        check_mask_keys(augment.policy.modes, mask_keys, augment.source.has_bank, augment.source.has_canvases)
        PlannedTransformd.__init__(
            self,
            keys,
            augment,
            label_key=label_key,
            mask_keys=mask_keys,
            group_key=group_key,
            allow_missing_keys=allow_missing_keys,
        )

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> GenerativeAugmentd:
        """Seed the draws, as MONAI's transforms do."""
        super().set_random_state(seed, state)
        self.augment.set_random_state(seed, state)
        return self


GenerativeAugmentD = GenerativeAugmentDict = GenerativeAugmentd
