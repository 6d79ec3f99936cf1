"""Exponential moving average of a generator's weights, counted in images as published (Karras et al. 2020)."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_retina_gen.engines.generative_events import GenerativeEvents

__all__ = ["GeneratorEMAHandler"]


class GeneratorEMAHandler:
    """Updates a copy of the generator after each of its steps.

    Ignite's `EMAHandler` counts in iterations and makes the copy itself; half lives in images stay right when batch
    size or number of processes change, and a configuration needs the copy to sample, judge and save.

    Args:
        generator: the network that is trained.
        ema: its copy.
        half_life: images seen by the discriminator until a weight counts half.
        ramp_up: at the beginning, the half life is at most this share of the images seen; 0 for none.
        buffers: `"copy"` takes the generator's buffers, `"average"` averages those with fractions, as statistics of
            batch normalisation should be.
        overwrite: whether the copy is overwritten at the first step of a run that is not resumed. `False` goes on with
            an average that an earlier training left.
        batch_size: images an iteration, for a trainer that is no `AlternatingTrainer` and steps at every iteration.

    Raises:
        ValueError: for another `buffers`, or a half life that is not positive.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        ema: nn.Module,
        half_life: float = 10_000,
        ramp_up: float = 0.05,
        buffers: str = "copy",
        overwrite: bool = True,
        batch_size: int | None = None,
    ) -> None:
        if buffers not in ("copy", "average") or half_life <= 0:
            raise ValueError(f"buffers {buffers!r} must be 'copy' or 'average', half_life {half_life} positive")
        self.generator, self.ema = generator, ema.eval().requires_grad_(False)
        self.half_life, self.ramp_up = half_life, ramp_up
        self.buffers, self.overwrite, self.batch_size = buffers, overwrite, batch_size

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(
            Events.ITERATION_COMPLETED if self.batch_size else GenerativeEvents.G_STEP_COMPLETED, self
        )

    def decay(self, seen: int, between: float) -> float:
        """Weight of the old average after `between` more images, `seen` in all."""
        half_life = min(self.half_life, max(self.ramp_up * seen, 1.0)) if self.ramp_up else self.half_life
        return float(0.5 ** (between / half_life))

    @torch.no_grad()
    def __call__(self, engine: Any) -> None:
        steps, seen, between = self._progress(engine)
        if steps == 0 and self.overwrite:  # the first step: nothing to average yet
            self.ema.load_state_dict(self.generator.state_dict())
            return
        weight = 1 - self.decay(seen, between)
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), weight)
        for average, value in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
            if self.buffers == "average" and average.is_floating_point():
                average.lerp_(value, weight)
            else:
                average.copy_(value)

    def _progress(self, engine: Any) -> tuple[int, int, float]:
        """Steps of the generator before this one, images seen, and images between two steps."""
        state = engine.state
        if self.batch_size:
            return state.iteration - 1, state.iteration * self.batch_size, self.batch_size
        return state.g_steps, state.images_seen, state.images_seen / state.iteration * engine.n_critic
