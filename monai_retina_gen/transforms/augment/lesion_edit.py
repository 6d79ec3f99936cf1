"""`LesionEdit`: one given edit of lesions as a MONAI transform, array and dictionary form.

The random form is `GenerativeAugment(mode="edit")`.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.data import get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_tensor
from torch import Tensor

from monai_retina_gen.editing import Gate
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.transforms.augment.generative_augment import GenerativeAugment, _take_over
from monai_retina_gen.transforms.augment.policy import AugmentationPlan, grade_of

__all__ = ["LesionEdit", "LesionEditD", "LesionEditDict", "LesionEditd"]


class LesionEdit(Transform):
    """More or less of a lesion in a photograph, grade kept.

    Args:
        generator: a bundle's name or folder, or a generator object, that has the mode `edit`.
        lesion: `ma`, `he`, `ex`, `se`, or several at once as `"ex+he"`.
        strength: in [-1, 1], a share of the direction's calibrated range.
        gate: `None`, `"label"` or a `Gate`: the strongest edit up to `strength` that passes is made.
        tries: edits at most, under the gate.
        image_order: `None` reads `meta["image_order"]`; `"CHW"`, or `"CWH"` after MONAI's default `LoadImage`.
        device: where the generator runs.
        trust_code: see `load_generator`.

    Shape:
        - image: `(3, H, H)` floating point in [0, 1], cropped to the field of view, at least as large as the
          generator's images; the output has the same shape, order, dtype and device.

    Raises:
        ImageValueError: for an image outside the convention, without retina or colour, or too small.
        UnsupportedModeError: on first use, for a generator that cannot edit.

    Examples:
        >>> edit = LesionEdit(generator="retina_stylegan3", lesion="ex", strength=0.5, image_order="CHW")
        >>> edit.plan(grade=3)
        AugmentationPlan(mode='edit', grade=3, seed=0, lesion='ex', strength=0.5)
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  # MONAI reads a list

    def __init__(
        self,
        *,
        generator: str | os.PathLike[str] | RetinaGenerator,
        lesion: str = "ex",
        strength: float = 0.5,
        gate: str | Gate | None = None,
        tries: int = 4,
        image_order: str | None = None,
        device: str = "cpu",
        trust_code: bool = False,
    ) -> None:
        self.augment = GenerativeAugment(
            generator=generator,
            mode="edit",
            prob=1.0,
            lesion=lesion,
            strength=(strength, strength),
            gate=gate,
            max_retries=tries - 1,
            image_order=image_order,
            device=device,
            trust_code=trust_code,
        )
        self.lesion, self.strength = lesion, float(strength)

    def plan(self, grade: Any) -> AugmentationPlan:
        """The edit of a photograph of `grade`."""
        return AugmentationPlan("edit", grade_of(grade), 0, self.lesion, self.strength)

    def __call__(
        self, img: Any, grade: Any, masks: Mapping[str, Tensor] | None = None, *, group: str | None = None
    ) -> Tensor:
        """Edit one photograph.

        Args:
            img: `(3, H, H)`, see the class.
            grade: its grade.
            masks: lesion masks `(1, H, H)` by name, where they are known.
            group: photograph or patient that the image belongs to, for a cross-fitted gate.

        Returns:
            The image; its `meta["generated"]` holds the record, and where it was refused
            `meta["generation_refused"]` says why.
        """
        self.augment.plan = self.plan(grade)
        return self.augment.augment(img, grade, masks, randomize=False, group=group)[0]


class LesionEditd(MapTransform):
    """Dictionary form of `LesionEdit`.

    Args:
        keys: image key(s).
        label_key: key of the grade.
        mask_keys: masks of lesions; they are found again for the edited image.
        group_key: key of the photograph or patient that an item belongs to, where it has one.
        allow_missing_keys: leave out keys that an item lacks.
        options: the keyword arguments of `LesionEdit`.

    The item gains `<key>_generated`: the record as JSON, `""` where the edit was refused.
    """

    backend = LesionEdit.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: Hashable = "grade",
        *,
        mask_keys: Sequence[str] = (),
        group_key: Hashable = "group",
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_key, self.mask_keys, self.group_key = label_key, tuple(mask_keys), group_key
        self.edit = LesionEdit(**options)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        if self.label_key not in item:
            raise KeyError(f"label_key {self.label_key!r} is not in the item, which has {sorted(map(str, item))}")
        masks = {name: item[name] for name in self.mask_keys if name in item}
        group = str(item[self.group_key]) if self.group_key in item else None
        self.edit.augment.plan = self.edit.plan(item[self.label_key])
        for key in self.key_iterator(item):
            image, outcome = self.edit.augment.augment(
                item[key], item[self.label_key], masks, randomize=False, group=group
            )
            item[key] = image
            item[f"{key}_generated"] = outcome.record.to_json() if outcome.record else ""
            for name in set(masks) & set(outcome.masks):
                real = convert_to_tensor(masks[name], track_meta=get_track_meta())
                item[name] = _take_over(real, outcome.masks[name])
        return item


LesionEditD = LesionEditDict = LesionEditd
