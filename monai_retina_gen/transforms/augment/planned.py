"""What the forms for single items share: a plan for the item's grade, carried out and written to the item.

The plan is local to a call, so that threads may share a transform.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from monai.config import KeysCollection
from monai.data import get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_tensor
from torch import Tensor

from monai_retina_gen.data import ICDR_GRADE
from monai_retina_gen.data.plain_tensor import plain_tensor
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.transforms.augment.canvases import becomes, other_keys
from monai_retina_gen.transforms.augment.conditions import check_mask_keys, check_stale_masks
from monai_retina_gen.transforms.augment.outcome import (
    Outcome,
    finish,
    item_notes,
    taken_over,
    warn_of_other_field,
)
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.real_images import RealImages, group_of, masks_of
from monai_retina_gen.transforms.augment.source import AugmentationSource
from monai_retina_gen.transforms.image_order import check_image, resolve_image_order, turned


class PlannedTransform(Transform):
    """Array form; a subclass says what is planned."""

    backend = [TransformBackends.TORCH]  # noqa: RUF012  # MONAI reads a list

    def __init__(self, source: AugmentationSource, image_order: str | None) -> None:
        self.source, self.image_order = source, image_order

    @abstractmethod
    def plan(self, grade: Any, own_grade: Any = None) -> AugmentationPlan | None:
        """The plan for an image of `grade`; `None` leaves the image as it is. See `__call__` for `own_grade`."""

    def __call__(self, img: Any, grade: Any, masks: Mapping[str, Tensor] | None = None, **options: Any) -> Tensor:
        """Carry out a plan for one image; the arguments are those of `augment`.

        `meta["generated"]` holds the record, `""` for a real one, and `meta["generation_refused"]` why the real image
        stays where another was wanted.
        """
        return self.augment(img, grade, masks, **options)[0]

    def augment(
        self,
        img: Any,
        grade: Any,
        masks: Mapping[str, Tensor] | None = None,
        *,
        group: str | None = None,
        own_grade: Any = None,
        plan: AugmentationPlan | Literal["new"] | None = "new",
    ) -> tuple[Tensor, Outcome]:
        """As calling it, with the outcome, whose masks are in the order of the image's axes.

        `masks` `(1, H, W)` by name are those that `synthesize` starts from, and annotated ones for `edit`; `group` is
        the photograph or patient, for a cross-fitted gate; `own_grade` the grade 0-4 where `grade` is a label and it is
        known besides; `plan` one of `plan(grade)`, to carry out the same for several images; by default a new one.
        """
        image, order = prepared(img, self.image_order)
        what = self.plan(grade, own_grade) if plan == "new" else plan
        outcome = Outcome()
        if what is not None:
            outcome = self.source.apply([what], RealImages.of_item(image, order, masks or {}, group))[0]
            outcome = replace(outcome, masks={name: turned(mask, order) for name, mask in outcome.masks.items()})
        warn_of_other_field(image, [outcome])
        return finish(image, outcome, order)[0], outcome


class PlannedTransformd(MapTransform):
    """Dictionary form; the arguments are those of `GenerativeAugmentd`, with the array form as `augment`."""

    backend = PlannedTransform.backend

    def __init__(
        self,
        keys: KeysCollection,
        augment: PlannedTransform,
        label_key: Hashable = "grade",
        mask_keys: Sequence[str] = (),
        group_key: Hashable = "group",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.augment, self.label_key, self.group_key = augment, label_key, group_key
        self.mask_keys = check_mask_keys(mask_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        if self.label_key not in item:
            raise KeyError(f"label_key {self.label_key!r} is not in the item, which has {sorted(map(str, item))}")
        plan = self.augment.plan(item[self.label_key], item.get(ICDR_GRADE))
        masks = masks_of(item, self.mask_keys, self.allow_missing_keys)
        group = group_of(item.get(self.group_key))
        own = (*self.keys, self.label_key, *self.mask_keys)
        others = other_keys(item, own)
        for key in self.key_iterator(item):
            image, order = prepared(item[key], self.augment.image_order)
            outcome = Outcome()
            if plan is not None:
                real = RealImages.of_item(image, order, masks, group, others)
                outcome = self.augment.source.apply([plan], real)[0]
            warn_of_other_field(image, [outcome])
            item[key], notes = finish(image, outcome, order)
            item.update(item_notes(key, notes))
            self._take_masks(item, outcome, order)
            if outcome.eye is not None and outcome.record is not None:
                item = becomes(item, outcome.eye, outcome.record.grade, own)
        return item

    def _take_masks(self, item: dict[Hashable, Any], outcome: Outcome, order: str) -> None:
        check_stale_masks(item, self.mask_keys, outcome)
        for name in self.mask_keys:
            if name in outcome.masks:  # one that the item lacks has the metadata of another
                real = item.get(name, next((item[k] for k in self.mask_keys if k in item), outcome.masks[name]))
                real = convert_to_tensor(real, track_meta=get_track_meta())
                item[name] = taken_over(real, turned(outcome.masks[name], order))


def prepared(image: Any, image_order: str | None) -> tuple[Tensor, str]:
    """An image as a tensor, checked, and the order of its axes."""
    order = resolve_image_order(image, image_order)
    tensor = convert_to_tensor(image, track_meta=get_track_meta())
    check_image(plain_tensor(tensor))
    if tensor.ndim != 3:
        raise ImageValueError(
            f"image: a batch of shape {tuple(tensor.shape)} came, wanted one image (3, H, W); BatchGenerativeAugment "
            "takes batches"
        )
    return tensor, order
