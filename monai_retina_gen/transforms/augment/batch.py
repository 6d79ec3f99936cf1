"""Generative augmentation of whole batches, on the generator's device, inside the training loop.

The batch keeps its size; one forward pass makes all the images that were drawn. Three forms of the same thing: a
callable on collated dictionaries, a wrapper of any `prepare_batch`, and an Ignite handler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import PrepareBatch, default_prepare_batch
from monai.transforms import Randomizable
from torch import Tensor

from monai_retina_gen.data.record import RECORD_KEY
from monai_retina_gen.transforms.augment.conditions import check_mask_keys, check_stale_masks
from monai_retina_gen.transforms.augment.policy import AugmentationPolicy, grade_of
from monai_retina_gen.transforms.augment.source import AugmentationSource, Augmented
from monai_retina_gen.transforms.image_order import check_image, resolve_image_order

__all__ = ["BatchGenerativeAugment", "GenerativeAugmentHandler", "GenerativePrepareBatch"]

_POLICY = ("prob", "counts", "mode", "lesion", "strength")


class BatchGenerativeAugment(Randomizable):
    """Replace some images of a collated batch by generated ones of the same grades.

    Args:
        image_key: key of the images `(B, 3, H, W)` in [0, 1].
        label_key: key of the grades `(B,)`.
        mask_keys: keys of masks `(B, 1, H, W)` for `synthesize`, replaced with the images.
        group_key: key of the photographs' or patients' groups, where the batch has it; see `GenerativeAugmentd`.
        image_order: as in `GenerativeAugment`.
        options: the other keyword arguments of `GenerativeAugment`.

    The batch gains `<image_key>_generated`, a list of records as JSON.

    Examples:
        >>> from monai_retina_gen.generators import VAEGenerator
        >>> from monai_retina_gen.networks import FundusVAE
        >>> vae = VAEGenerator(FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8)))
        >>> augment = BatchGenerativeAugment(generator=vae, prob={4: 1.0}, image_order="CHW")
        >>> batch = augment({"image": torch.zeros(3, 3, 64, 64), "grade": torch.tensor([0, 4, 4])})
        >>> [bool(record) for record in batch["image_generated"]]
        [False, True, True]
    """

    def __init__(
        self,
        *,
        image_key: str = "image",
        label_key: str = "grade",
        mask_keys: Sequence[str] = (),
        group_key: str = "group",
        image_order: str | None = None,
        **options: Any,
    ) -> None:
        self.image_key, self.label_key, self.mask_keys = image_key, label_key, tuple(mask_keys)
        self.group_key, self.image_order = group_key, image_order
        self.policy = AugmentationPolicy(**{k: options.pop(k) for k in _POLICY if k in options})
        self.source = AugmentationSource(**options)
        self.plans: list[Any] = []
        check_mask_keys(self.policy.modes, self.mask_keys, self.source.bank is not None)
        if self.source.bank is not None:
            self.source.check_modes(self.policy.modes)

    def randomize(self, data: Any) -> None:
        """Draw a plan for every grade in `data`."""
        self.plans = [self.policy.draw(self.R, grade_of(grade)) for grade in data]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = dict(batch)
        images, grades = batch[self.image_key], batch[self.label_key]
        if len(images) != len(grades):
            raise ValueError(f"{len(images)} images with {len(grades)} grades in one batch")
        order = resolve_image_order(images, self.image_order)
        self.randomize(grades.tolist() if isinstance(grades, Tensor) else grades)
        rows = [i for i, plan in enumerate(self.plans) if plan is not None]
        outcomes = self._apply(check_image(images), rows, order, batch) if rows else []
        made = {i: o for i, o in zip(rows, outcomes, strict=True) if o.image is not None}
        batch[self.image_key] = _replaced(images, {i: o.image for i, o in made.items()}, order)
        for outcome in made.values():
            if outcome.record is not None and outcome.record.mode == "synthesize":
                check_stale_masks(batch, self.mask_keys, outcome.masks)
        for name in self.mask_keys:
            if name not in batch:
                raise KeyError(f"mask_keys: the batch has no key {name!r}; it has {sorted(map(str, batch))}")
            new = {i: o.masks[name] for i, o in made.items() if name in o.masks}
            batch[name] = _replaced(batch[name], new, order)
        self._mark(batch, made, len(images))
        return batch

    def _apply(self, images: Tensor, rows: list[int], order: str, batch: dict[str, Any]) -> list[Augmented]:
        plain = _turn(_plain(images)[rows], order)
        masks = {k: _turn(_plain(batch[k])[rows], order) for k in self.mask_keys if k in batch}
        groups = [str(batch[self.group_key][i]) for i in rows] if self.group_key in batch else None
        return self.source.apply([self.plans[i] for i in rows], plain, masks, groups=groups)

    def _mark(self, batch: dict[str, Any], made: dict[int, Augmented], size: int) -> None:
        records = [made[i].record.to_json() if i in made else "" for i in range(size)]  # type: ignore[union-attr]
        batch[f"{self.image_key}_generated"] = records
        if isinstance(batch[self.image_key], MetaTensor):
            batch[self.image_key].meta[RECORD_KEY] = records


class GenerativePrepareBatch(PrepareBatch):
    """Wrap a `prepare_batch`: the batch is augmented before it is prepared. For trainers, not evaluators.

    Args:
        augment: a `BatchGenerativeAugment`, or its keyword arguments.
        prepare_batch: the wrapped callable; MONAI's default if left out.
    """

    def __init__(
        self,
        augment: BatchGenerativeAugment | dict[str, Any],
        prepare_batch: Callable[..., Any] = default_prepare_batch,
    ) -> None:
        self.augment = BatchGenerativeAugment(**augment) if isinstance(augment, dict) else augment
        self.prepare_batch = prepare_batch

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        key = self.augment.image_key
        # On the device first: there the generated images are made and stay.
        batchdata = {**batchdata, key: batchdata[key].to(device=device, non_blocking=non_blocking)}
        return self.prepare_batch(self.augment(batchdata), device, non_blocking, **kwargs)


class GenerativeAugmentHandler:
    """Ignite handler: augments `engine.state.batch` before each iteration, for any engine.

    Args:
        augment: a `BatchGenerativeAugment`, or its keyword arguments.
    """

    def __init__(self, augment: BatchGenerativeAugment | dict[str, Any]) -> None:
        self.augment = BatchGenerativeAugment(**augment) if isinstance(augment, dict) else augment

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        engine.state.batch = self.augment(engine.state.batch)


def _plain(image: Tensor) -> Tensor:
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def _turn(images: Tensor, order: str) -> Tensor:
    return images.transpose(-1, -2) if order == "CWH" else images


def _replaced(images: Tensor, new: dict[int, Any], order: str) -> Tensor:
    if not new:
        return images
    images = images.clone()
    for row, image in new.items():
        _plain(images)[row] = _turn(image, order).to(images.dtype)
    return images
