"""Exponential moving average of a generator's weights, counted in images as published (Karras et al. 2020)."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine
from torch import nn

from monai_retina_gen.engines.alternating_trainer import GenerativeEvents

__all__ = ["GeneratorEMAHandler"]


class GeneratorEMAHandler:
    """Updates a copy of the generator after each of its steps.

    Ignite's `EMAHandler` counts in iterations and makes the copy itself; half lives in images stay right when batch
    size or number of processes change, and a configuration needs the copy to sample, judge and save.

    Args:
        generator: the network that is trained.
        ema: its copy; overwritten at the start of a run that is not resumed.
        half_life: images seen by the discriminator until a weight counts half.
        ramp_up: at the beginning, the half life is at most this share of the images seen; 0 for none.
        buffers: `"copy"` takes the generator's buffers, `"average"` averages those with fractions, as statistics of
            batch normalisation should be.

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
    ) -> None:
        if buffers not in ("copy", "average") or half_life <= 0:
            raise ValueError(f"buffers {buffers!r} must be 'copy' or 'average', half_life {half_life} positive")
        self.generator, self.ema = generator, ema.eval().requires_grad_(False)
        self.half_life, self.ramp_up, self.buffers = half_life, ramp_up, buffers

    def attach(self, engine: Engine) -> None:
        """Attach to an `AlternatingTrainer`."""
        engine.add_event_handler(GenerativeEvents.G_STEP_COMPLETED, self)

    def decay(self, seen: int, between: float) -> float:
        """Weight of the old average after `between` more images, `seen` in all."""
        half_life = min(self.half_life, max(self.ramp_up * seen, 1.0)) if self.ramp_up else self.half_life
        return float(0.5 ** (between / half_life))

    @torch.no_grad()
    def __call__(self, engine: Any) -> None:
        state = engine.state
        if state.g_steps == 0:  # the first step: nothing to average yet
            self.ema.load_state_dict(self.generator.state_dict())
            return
        weight = 1 - self.decay(state.images_seen, state.images_seen / state.iteration * engine.n_critic)
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), weight)
        for average, value in zip(self.ema.buffers(), self.generator.buffers(), strict=True):
            if self.buffers == "average" and average.is_floating_point():
                average.lerp_(value, weight)
            else:
                average.copy_(value)
