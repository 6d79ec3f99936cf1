"""`BatchGenerativeAugment` inside a trainer: a wrapper of any `prepare_batch`, and an Ignite handler."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator, PrepareBatch, default_prepare_batch

from monai_retina_gen.transforms.augment.batch import BatchGenerativeAugment


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
