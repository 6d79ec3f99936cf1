"""`ComposeMasks`: new lesion masks for an eye, of its own grade or another, from a bank of real lesions.

For a given vessel map, disc and field of view it makes any number of mask sets; a generator with the mode `synthesize`
turns them into photographs (`GenerativeAugment(mode="synthesize", lesion_bank=...)` does both).
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends, ensure_tuple
from torch import Tensor

from monai_retina_gen.data import (
    ICDR_GRADE,
    LESION_MASKS,
    ComposedMasks,
    MaskComposer,
    grade_of,
    grades_of,
    icdr_grade,
)
from monai_retina_gen.data.plain_tensor import plain_tensor
from monai_retina_gen.opened_once import OpenedOnce, file_stamps
from monai_retina_gen.transforms.forms import with_arguments_of
from monai_retina_gen.transforms.image_order import resolve_image_order, turned
from monai_retina_gen.transforms.worker_seeds import WorkerSeeded

COMPOSED_KEY = "composed"
_OPENED: OpenedOnce[MaskComposer] = OpenedOnce()


class ComposerHandle:
    """A mask composer by the path of its bank: loaded once per process, not copied, pickled as its path.

    `options` are further arguments of `MaskComposer`; none with a `MaskComposer`.
    """

    def __init__(self, source: str | os.PathLike[str] | MaskComposer, **options: Any) -> None:
        if options and isinstance(source, MaskComposer):
            raise ValueError(f"{', '.join(options)}: a MaskComposer came, which has its own; give the path of its bank")
        self.source = source if isinstance(source, MaskComposer) else os.path.abspath(source)
        self.options = options

    def get(self) -> MaskComposer:
        """The composer; `DatalistError` where its bank cannot be read."""
        path = self.source
        if isinstance(path, MaskComposer):
            return path
        key = json.dumps([path, self.options], sort_keys=True)
        return _OPENED.get(key, file_stamps([path]), lambda: MaskComposer(path, **self.options))

    def __deepcopy__(self, memo: dict[int, Any]) -> ComposerHandle:
        return self


@with_arguments_of(MaskComposer)
class ComposeMasks(WorkerSeeded, RandomizableTransform):
    """Compose lesion masks for an eye.

    Args:
        bank: path of a lesion bank (`monai-retina-gen model lesion-bank`), or a `MaskComposer`.
        grades: grades to draw from, each as likely; None keeps the grade of the call.
        image_order: order of the masks' axes, see `GenerativeAugment`.
        options: arguments of `MaskComposer`: `move`, `flip`, `lesions`, ...

    Shape:
        - masks: `fov` and `od`, `(1, H, W)` in [0, 1].
        - output: `ComposedMasks`, in the order of the axes that came.

    Raises:
        ImageValueError, ValueError, DatalistError: see `MaskComposer.compose`.
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012  # MONAI reads a list

    def __init__(
        self,
        *,
        bank: str | os.PathLike[str] | MaskComposer,
        grades: Sequence[int] | None = None,
        image_order: str | None = None,
        **options: Any,
    ) -> None:
        RandomizableTransform.__init__(self, prob=1.0)
        if grades is not None and (not grades or set(grades_of(grades, "grades")) - set(range(5))):
            raise ValueError(f"grades {grades!r}: want one or several of 0, 1, 2, 3, 4, or None")
        self.composer = ComposerHandle(bank, **options)
        self.grades = None if grades is None else tuple(grades_of(grades, "grades"))
        self.image_order = image_order

    def randomize(self, data: Any = None) -> tuple[int, int]:
        """Draw the seed, and the grade where there are several, for an eye of grade `data`.

        They are returned, not kept, so that threads cannot mix them.
        """
        self.settle_seed()
        seed = int(self.R.randint(0, 2**32, dtype=np.uint64))
        return seed, grade_of(data) if self.grades is None else self.grades[self.R.randint(len(self.grades))]

    def __call__(self, masks: Mapping[str, Tensor], grade: Any = None) -> ComposedMasks:
        """Compose masks; `grade` may be left out where `grades` are drawn."""
        return self.compose(masks, *self.randomize(grade))

    def compose(self, masks: Mapping[str, Tensor], seed: int, grade: int) -> ComposedMasks:
        """Compose masks from what `randomize` drew."""
        order = resolve_image_order(next(iter(masks.values())), self.image_order)
        upright = {name: turned(plain_tensor(mask), order) for name, mask in masks.items()}
        made = self.composer.get().compose(upright, grade, seed=seed)
        own = {name: turned(mask, order).contiguous() for name, mask in made.masks.items()}
        return ComposedMasks(own, made.counts, made.area, made.profile)


@with_arguments_of(ComposeMasks)
class ComposeMasksd(RandomizableTransform, MapTransform):
    """Dictionary form of `ComposeMasks`: writes composed masks, and their grade, into the item.

    Real masks under the same keys are replaced: use it to make conditions for a generator, not beside the photograph
    that the masks came from.

    Args:
        keys: lesions to write, of `LESION_MASKS`.
        bank: see `ComposeMasks`.
        anatomy_keys: keys of the field of view and the optic disc.
        label_key: key of the grade; written where `grades` are drawn.
        grades, image_order, options: see `ComposeMasks`.

    The item gains `composed`: JSON with grade, seed and the photograph that said which lesions there are.

    Examples:
        >>> import tempfile
        >>> from monai_retina_gen.data import PhantomDataset, build_lesion_bank, load_datalist, write_phantoms
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = write_phantoms(folder, count=4, size=128, grades=[3], splits=(1, 0, 0))
        ...     bank = build_lesion_bank(load_datalist(written)["training"], diameter=128, min_area=1)
        >>> compose = ComposeMasksd(keys=("ma", "he"), bank=MaskComposer(bank), grades=[3], image_order="CHW")
        >>> item = compose.set_random_state(0)(PhantomDataset(length=1, size=128, grades=[0], masks=True)[0])
        >>> item["grade"], item["he"].shape
        (3, torch.Size([1, 128, 128]))
    """

    backend = ComposeMasks.backend

    def __init__(
        self,
        keys: KeysCollection = LESION_MASKS[:4],
        *,
        bank: str | os.PathLike[str] | MaskComposer,
        anatomy_keys: KeysCollection = ("fov", "od"),
        label_key: Hashable = "grade",
        **options: Any,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=1.0)
        if unknown := sorted(set(map(str, self.keys)) - set(LESION_MASKS)):
            raise ValueError(f"keys: unknown lesions {unknown}; choose from {', '.join(LESION_MASKS)}")
        if not isinstance(bank, MaskComposer):
            options = {"lesions": [str(key) for key in self.keys], **options}
        self.compose = ComposeMasks(bank=bank, **options)
        names = ensure_tuple(anatomy_keys)
        self.anatomy_keys = dict(zip(("fov", "od"), names, strict=False))
        self.label_key = label_key

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> ComposeMasksd:
        """Seed the draws, as MONAI's transforms do."""
        super().set_random_state(seed, state)
        self.compose.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        anatomy = {name: item[key] for name, key in self.anatomy_keys.items() if key in item}
        if "fov" not in anatomy:
            raise KeyError(
                f"anatomy_keys: the item has no {self.anatomy_keys['fov']!r}; it has {sorted(map(str, item))}"
            )
        keeps = self.compose.grades is None and self.label_key in item
        seed, grade = self.compose.randomize(icdr_grade(item, str(self.label_key)) if keeps else None)
        made = self.compose.compose(anatomy, seed, grade)
        for key in self.keys:
            item[key] = _like(anatomy["fov"], made.masks[str(key)])
        item.update(self._label(item, grade))
        note = {"grade": grade, "seed": seed, "profile": made.profile}
        item[COMPOSED_KEY] = json.dumps(note, sort_keys=True)
        return item

    def _label(self, item: Mapping[Hashable, Any], grade: int) -> dict[Hashable, Any]:
        """The grade drawn, where grades are."""
        if self.compose.grades is None:
            return {}
        if ICDR_GRADE in item:
            raise ValueError(
                f"grades {self.compose.grades}: the item's {self.label_key!r} is a label that joins grades, and would "
                "not be that of a grade that is drawn; leave grades out, or load the datalist without grade_map"
            )
        return {self.label_key: grade}


def _like(reference: Tensor, mask: Tensor) -> Tensor:
    return MetaTensor(mask, meta=dict(reference.meta)) if isinstance(reference, MetaTensor) else mask


ComposeMasksD = ComposeMasksDict = ComposeMasksd
