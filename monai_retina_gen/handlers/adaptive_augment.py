"""Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676, section 3)."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_retina_gen.engines.discriminator_augment import DiscriminatorAugment
from monai_retina_gen.engines.distributed import world
from monai_retina_gen.engines.generative_events import GenerativeEvents

__all__ = ["AdaptiveAugmentHandler"]


class AdaptiveAugmentHandler:
    r"""Raises `p` while the discriminator overfits, and lowers it otherwise.

    Overfitting is :math:`r_t = E[\mathrm{sign}\, D(x)]` of real images (Eq. 1 there) above `target`. That holds for
    discriminators whose scores are logits; a Wasserstein critic's have no zero, so give those a fixed `p` and no such
    handler. Nothing is read from the device but once an epoch, for the log.

    Args:
        augment: the module whose `p` is adapted.
        target: r_t that is aimed at.
        interval: steps of the discriminator between two changes.
        images: real images in which `p` would go from 0 to 1.
        limit: largest `p`; above 0.8 operations begin to leak into the images (section 2.2).
    """

    def __init__(
        self,
        *,
        augment: DiscriminatorAugment,
        target: float = 0.6,
        interval: int = 4,
        images: float = 500_000,
        limit: float = 0.8,
    ) -> None:
        self.augment, self.target, self.interval, self.images, self.limit = augment, target, interval, images, limit

    def attach(self, engine: Engine) -> None:
        """Attach to an `AlternatingTrainer`."""
        engine.add_event_handler(GenerativeEvents.D_STEP_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)

    @torch.no_grad()
    def __call__(self, engine: Any) -> None:
        by_image = _signs_by_image(engine.state.real_scores)
        signs, p = self.augment.signs, self.augment.p
        signs += torch.stack([by_image.sum(), torch.full_like(signs[1], len(by_image))])
        if engine.state.iteration % self.interval == 0:
            if world()[1] > 1:
                torch.distributed.all_reduce(signs)
            p += (signs[0] / signs[1] - self.target).sign() * signs[1] / self.images
            p.clamp_(0, self.limit)
            signs.zero_()

    def _report(self, engine: Any) -> None:
        engine.state.ada_p = float(self.augment.p)


def _signs_by_image(scores: Any) -> Tensor:
    """Mean sign of each image's scores `(B,)`: of one discriminator, or of several under `score`, also of places."""
    parts = scores["score"] if isinstance(scores, dict) else [scores]
    return torch.stack([part.sign().reshape(len(part), -1).mean(1) for part in parts]).mean(0)
