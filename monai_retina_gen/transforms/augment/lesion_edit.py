"""`LesionEdit`: one given edit of lesions as a MONAI transform, array and dictionary form.

The random form is `GenerativeAugment(mode="edit")`.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection

from monai_retina_gen.data import ICDR_GRADE, grade_of
from monai_retina_gen.editing import Gate
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.transforms.augment.planned import PlannedTransform, PlannedTransformd
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.source import AugmentationSource
from monai_retina_gen.transforms.forms import with_arguments_of


class LesionEdit(PlannedTransform):
    """More or less of a lesion in a photograph, grade kept.

    Args:
        generator: a bundle's name or folder, or a generator object, that has the mode `edit`.
        lesion: `ma`, `he`, `ex`, `se`, or several at once as `"ex+he"`.
        strength: in [-1, 1], a share of the direction's calibrated range.
        gate: `None`, `"label"` or a `Gate`: the strongest edit up to `strength` that passes is made.
        tries: edits at most, under the gate; 4 by default.
        image_order: `None` reads `meta["image_order"]`; `"CHW"`, or `"CWH"` after MONAI's default `LoadImage`.
        device: where the generator runs.
        trust_code: see `load_generator`.
        edit_options: further arguments of the generator's `edit`, such as `{"step": "mu"}`.

    Shape:
        - image: `(3, H, H)` floating point in [0, 1], cropped to the field of view, at least as large as the
          generator's images; the output has the same shape, order, dtype and device.

    Raises:
        ValueError: for `tries` without a gate, which would do nothing.
        BundleNotFoundError: if there is no such bundle; weights are loaded on first use.
        ImageValueError: for an image outside the convention, without retina or colour, or too small.
        UnsupportedModeError: on first use, for a generator that cannot edit.

    Examples:
        >>> edit = LesionEdit(generator="retina_stylegan3", lesion="ex", strength=0.5, image_order="CHW")
        >>> edit.plan(grade=3)
        AugmentationPlan(mode='edit', grade=3, seed=0, lesion='ex', strength=0.5)
    """

    def __init__(
        self,
        *,
        generator: str | os.PathLike[str] | RetinaGenerator,
        lesion: str = "ex",
        strength: float = 0.5,
        gate: str | Gate | None = None,
        tries: int | None = None,
        image_order: str | None = None,
        device: str = "cpu",
        trust_code: bool = False,
        edit_options: Mapping[str, Any] | None = None,
    ) -> None:
        if tries is not None and gate is None:
            raise ValueError("tries: used together with gate alone, which refuses edits")
        source = AugmentationSource(
            generator=generator,
            gate=gate,
            max_retries=3 if tries is None else tries - 1,
            device=device,
            trust_code=trust_code,
            edit_options=edit_options,
        )
        super().__init__(source, image_order)
        self.lesion, self.strength = lesion, float(strength)

    def plan(self, grade: Any, own_grade: Any = None) -> AugmentationPlan:
        """The edit of a photograph of `grade`: always the same."""
        own = grade_of(grade) if own_grade is None else grade_of(own_grade, ICDR_GRADE)
        return AugmentationPlan("edit", own, 0, self.lesion, self.strength)


@with_arguments_of(LesionEdit)
class LesionEditd(PlannedTransformd):
    """Dictionary form of `LesionEdit`; the arguments for items are those of `GenerativeAugmentd`.

    Of the masks `(1, H, H)` under `mask_keys` those of the edited lesions change, where the edit is. The item gains
    `<key>_generated`: the record as JSON, `""` where the edit was refused; and `<key>_refused`: why it was, else `""`.
    """

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
        super().__init__(keys, LesionEdit(**options), label_key, mask_keys, group_key, allow_missing_keys)


LesionEditD = LesionEditDict = LesionEditd
