"""Generative augmentation of whole batches, on the generator's device, inside the training loop or its trainer.

The batch keeps its size; one forward pass makes all the images that were drawn. In a trainer it is a wrapper of any
`prepare_batch`, or an Ignite handler.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator, PrepareBatch, default_prepare_batch
from torch import Tensor

from monai_retina_gen.data import ICDR_GRADE, grades_of
from monai_retina_gen.data.plain_tensor import plain_tensor
from monai_retina_gen.data.record import RECORD_KEY
from monai_retina_gen.transforms.augment.canvases import other_keys, row_becomes
from monai_retina_gen.transforms.augment.conditions import check_mask_keys, check_stale_masks
from monai_retina_gen.transforms.augment.generative_augment import GenerativeAugment
from monai_retina_gen.transforms.augment.outcome import (
    REFUSED_KEY,
    Outcome,
    finish,
    item_notes,
    taken_over,
    warn_of_other_field,
    with_notes,
)
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.real_images import RealImages, group_of, masks_of, sources_of
from monai_retina_gen.transforms.forms import with_arguments_of
from monai_retina_gen.transforms.image_order import check_image, resolve_image_order, turned
from monai_retina_gen.transforms.worker_seeds import WorkerSeeded

Plans = list[AugmentationPlan | None]


@with_arguments_of(GenerativeAugment)
class BatchGenerativeAugment(WorkerSeeded):
    """Replace some images of a collated batch by generated ones of the same grades.

    Args:
        image_key: key of the images `(B, 3, H, W)` in [0, 1].
        label_key: key of the grades `(B,)`.
        mask_keys: keys of masks `(B, 1, H, W)`, as in `GenerativeAugmentd`.
        group_key: key of the photographs' or patients' groups, where the batch has it; see `GenerativeAugmentd`.
        allow_missing_keys: leave out mask keys that the batch lacks; else they are an error.

    The other arguments are those of `GenerativeAugment`. The batch gains two lists, `<image_key>_generated` and
    `<image_key>_refused`: records as JSON and reasons, `""` where there is none. Draws are seeded by `set_determinism`
    and `set_random_state`.

    Raises:
        KeyError: for a mask key that the batch lacks.
        ValueError: for another number of grades than of images.

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
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        self.image_key, self.label_key, self.group_key = image_key, label_key, group_key
        self.mask_keys, self.allow_missing_keys = check_mask_keys(mask_keys), allow_missing_keys
        single = GenerativeAugment(**options)
        single.check_masks_follow(self.mask_keys)
        self.policy, self.source, self.image_order = single.policy, single.source, single.image_order

    def randomize(self, data: Any, own_grades: Any = None) -> Plans:
        """Draw a plan for every grade in `data`; they are returned, not kept."""
        self.settle_seed()
        labels = grades_of(data, self.label_key)
        grades = [None] * len(labels) if own_grades is None else grades_of(own_grades, ICDR_GRADE)
        return [self.policy.draw(self.R, label, grade) for label, grade in zip(labels, grades, strict=True)]

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        batch = dict(batch)
        images, grades = batch[self.image_key], batch[self.label_key]
        if len(images) != len(grades):
            raise ValueError(f"{len(images)} images with {len(grades)} grades in one batch")
        order = resolve_image_order(images, self.image_order)
        masks = masks_of(batch, self.mask_keys, self.allow_missing_keys)
        plans = self.randomize(grades, batch.get(ICDR_GRADE))
        rows = [i for i, plan in enumerate(plans) if plan is not None]
        outcomes = [Outcome()] * len(plans)
        if rows:
            real = self._real(batch, masks, check_image(images), order).take(rows)
            made = self.source.apply([plan for plan in plans if plan is not None], real)
            for row, outcome in zip(rows, made, strict=True):
                outcomes[row] = outcome
        return self._finished(batch, outcomes, order)

    def _real(self, batch: Mapping[str, Any], masks: Mapping[str, Tensor], images: Tensor, order: str) -> RealImages:
        count = len(images)
        groups = [group_of(group) for group in batch.get(self.group_key, [None] * count)]
        upright = {name: turned(plain_tensor(mask), order) for name, mask in masks.items()}
        others = other_keys(batch, self._own_keys())
        return RealImages(turned(plain_tensor(images), order), upright, sources_of(images, count), groups, others)

    def _own_keys(self) -> tuple[Any, ...]:
        return (self.image_key, self.label_key, *self.mask_keys)

    def _finished(self, batch: dict[str, Any], outcomes: list[Outcome], order: str) -> dict[str, Any]:
        images = batch[self.image_key]
        warn_of_other_field(images, outcomes)
        done = [finish(image, outcome, order) for image, outcome in zip(plain_tensor(images), outcomes, strict=True)]
        notes = {name: [each[name] for _, each in done] for name in (RECORD_KEY, REFUSED_KEY)}
        made = [outcome.image is not None for outcome in outcomes]
        images = taken_over(images, torch.stack([image for image, _ in done])) if any(made) else images
        batch[self.image_key] = with_notes(images, notes)
        batch.update(item_notes(self.image_key, notes))
        for row, outcome in enumerate(outcomes):
            if outcome.eye is not None and outcome.record is not None:
                row_becomes(batch, row, outcome.eye, outcome.record.grade, self._own_keys())
            check_stale_masks(batch, self.mask_keys, outcome)
        for name in self.mask_keys:
            if name in batch and any(name in outcome.masks for outcome in outcomes):
                rows = zip(plain_tensor(batch[name]), outcomes, strict=True)
                masks = [turned(each.masks[name], order).to(own) if name in each.masks else own for own, each in rows]
                batch[name] = taken_over(batch[name], torch.stack(masks))
        return batch


class GenerativePrepareBatch(PrepareBatch):
    """Wrap a `prepare_batch`: the batch is augmented before it is prepared. For trainers, not evaluators.

    Args:
        augment: a `BatchGenerativeAugment`, or its keyword arguments.
        prepare_batch: the wrapped callable; MONAI's default if left out.

    Raises:
        RuntimeError: when an evaluator calls it: figures on generated images would say nothing.
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
        _refuse_evaluator(_calling_engine())
        key = self.augment.image_key
        # On the device first: there the generated images are made and stay.
        batchdata = {**batchdata, key: batchdata[key].to(device=device, non_blocking=non_blocking)}
        return self.prepare_batch(self.augment(batchdata), device, non_blocking, **kwargs)


class GenerativeAugmentHandler:
    """Ignite handler: augments `engine.state.batch` before each iteration, for any trainer.

    Args:
        augment: a `BatchGenerativeAugment`, or its keyword arguments.

    Raises:
        RuntimeError: when it is attached to an evaluator.
    """

    def __init__(self, augment: BatchGenerativeAugment | dict[str, Any]) -> None:
        self.augment = BatchGenerativeAugment(**augment) if isinstance(augment, dict) else augment

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        _refuse_evaluator(engine)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        engine.state.batch = self.augment(engine.state.batch)


def _refuse_evaluator(engine: Any) -> None:
    if isinstance(engine, Evaluator):
        raise RuntimeError(
            f"{type(engine).__name__} would evaluate on generated images: give the evaluator the plain prepare_batch, "
            "and GenerativePrepareBatch or GenerativeAugmentHandler to the trainer alone"
        )


def _calling_engine() -> Any:
    """The engine whose iteration asks for a batch: MONAI does not pass it on, so it is looked up among the callers."""
    frame = inspect.currentframe()
    while frame is not None:
        engine = frame.f_locals.get("engine")
        if isinstance(engine, Engine):
            return engine
        frame = frame.f_back
    return None
