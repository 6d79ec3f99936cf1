"""Lets the blur of what a discriminator sees fade (Karras et al. 2021, arXiv:2106.12423, section F.3)."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine

from monai_retina_gen.engines.fading_blur import FadingBlur
from monai_retina_gen.engines.generative_events import GenerativeEvents

__all__ = ["FadingBlurHandler"]


class FadingBlurHandler:
    """Tells the blur before each step of the discriminator how many images it has seen, also in a resumed training.

    Args:
        blur: the module that is part of the trainer's augmentation.
    """

    def __init__(self, *, blur: FadingBlur) -> None:
        self.blur = blur

    def attach(self, engine: Engine) -> None:
        """Attach to an `AlternatingTrainer`."""
        engine.add_event_handler(GenerativeEvents.D_STEP_STARTED, self)

    def __call__(self, engine: Any) -> None:
        self.blur.seen(engine.state.images_seen)
