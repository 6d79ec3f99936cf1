"""Switches a two-stage generator, and what feeds it, between its phases of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ignite.engine import Engine

from monai_retina_gen.engines.generative_events import GenerativeEvents

__all__ = ["StageHandler"]


class StageHandler:
    """Runs as many stages of the networks as the phase has, with images reduced to their size.

    Attach it to an `AlternatingTrainer` with `phases`. In a phase of one stage of a two-stage network, images and masks
    are halved. When the phase changes, the best validation so far is forgotten: the figures of two sizes do not
    compare, and weights whose second stage has not learned must not be kept for the best.

    Args:
        networks: the generators that are switched (`active_stages`), such as the trained one and its average.
        stages: of each phase, in order.
        reduced: objects with `reduction`, such as `PrepareConditionBatch`.
        validator: evaluator whose best metric is forgotten; `None` for none.
        savers: MONAI's `CheckpointSaver`s of the validator's best weights.
    """

    def __init__(
        self,
        *,
        networks: Sequence[Any],
        stages: Sequence[int],
        reduced: Sequence[Any] = (),
        validator: Any = None,
        savers: Sequence[Any] = (),
    ) -> None:
        self.networks, self.stages, self.reduced = list(networks), list(stages), list(reduced)
        self.validator, self.savers = validator, list(savers)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(GenerativeEvents.PHASE_STARTED, self)

    def __call__(self, engine: Any) -> None:
        stages = self.stages[min(engine.state.phase, len(self.stages) - 1)]
        for network in self.networks:
            network.active_stages = min(stages, network.stages)
        for part in self.reduced:
            part.reduction = 2 if stages < max(network.stages for network in self.networks) else 1
        if self.validator is not None:
            self.validator.state.best_metric_epoch = -1
        for saver in self.savers:
            checkpoint = getattr(saver, "_key_metric_checkpoint", None)
            if checkpoint is not None:
                checkpoint.reset()
