"""What a loss term or a penalty of adversarial training may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["AdversarialStep"]


@dataclass
class AdversarialStep:
    """One step of a critic or generator.

    Args:
        real: real images `(B, C, H, W)` in [-1, 1], before any augmentation.
        fake: generated images, before any augmentation; with gradients in a generator's step, without in a critic's.
        score: the critic with its condition: from images to scores, without augmentation.
        augment: augmentation of the critic's input; the identity where there is none.
        seen_real: `real` as the critic saw it; `None` in a generator's step, whose critic sees none.
        seen_fake: `fake` as the critic saw it.
        real_scores: scores of `seen_real`; `None` in a generator's step.
        fake_scores: scores of `seen_fake`.
        mix: `(B,)` random numbers in [0, 1], for interpolates.
        latent: latents of `fake`.
        condition: what both networks were conditioned on, by name.
        augment_alike: augments as `seen_fake` was augmented, with the same random draws: what is compared with it,
            such as the real image of a pair, has to be turned and coloured as it is.
    """

    real: Tensor
    fake: Tensor
    score: Callable[[Tensor], Any]
    augment: Callable[[Tensor], Tensor]
    seen_real: Tensor | None
    seen_fake: Tensor
    real_scores: Any
    fake_scores: Any
    mix: Tensor
    latent: Tensor
    condition: dict[str, Tensor] = field(default_factory=dict)
    augment_alike: Callable[[Tensor], Tensor] = field(default=lambda images: images)
