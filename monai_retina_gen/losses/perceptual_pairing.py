"""The perceptual term of a generator's loss, and which real image a generated one is compared with.

Source: Zhao et al. 2023, Eq. 1: `loss = 0.6 * LPIPS_DR + 0.4 * GAN`. The paper does not say how generated and real
images are paired, and in its released code the term is computed on a detached image, so that nothing learns from it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.losses.adversarial import AdversarialStep

KEY_SIZE = 16
"""Side of the small copies that are compared: layout and colour decide which eye is the nearest."""


class RealQueue(nn.Module):
    """A ring of `size` real images in 8 bits, with small copies to search and their grades. All of it is state."""

    images: Tensor
    keys: Tensor
    grades: Tensor
    pushed: Tensor

    def __init__(self, *, size: int = 256, image_size: int = 256) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size of the queue must be at least 1, got {size}")
        self.size = size
        self.register_buffer("images", torch.zeros(size, 3, image_size, image_size, dtype=torch.uint8))
        self.register_buffer("keys", torch.full((size, 3 * KEY_SIZE**2), float("inf")))  # an empty place is far away
        self.register_buffer("grades", torch.full((size,), -1))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, images: Tensor, grades: Tensor | None = None) -> None:
        """Put `(B, 3, H, W)` images in [-1, 1] in the places of the oldest ones."""
        images = images[-self.size :]
        places = (self.pushed + torch.arange(len(images), device=self.pushed.device)) % self.size
        self.images[places] = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        self.keys[places] = _key(images)
        self.grades[places] = -1 if grades is None else grades[-self.size :]
        self.pushed += len(images)

    @torch.no_grad()
    def nearest(self, images: Tensor, grades: Tensor | None = None) -> Tensor:
        """The nearest real image to each, `(B, 3, H, W)` in [-1, 1]; of the same grade where the queue has one."""
        away = torch.cdist(_key(images), self.keys.nan_to_num(posinf=1e4))
        if grades is not None:
            # Farther than any image of the same grade, and still nearer than an empty place.
            away = away + 1e3 * (grades[:, None] != self.grades)
        return self.images[away.argmin(1)].float() / 127.5 - 1


def _key(images: Tensor) -> Tensor:
    return nn.functional.adaptive_avg_pool2d(images.float(), KEY_SIZE).flatten(1)


PAIRINGS = ("random", "nearest", "encoded")
OVERSHOOT = 0.45
"""How far generated values may leave [0, 1] in the comparison; distances check the range of what they get."""


class PerceptualPairing(nn.Module):
    """Weighted perceptual distance between generated and real images: a term for `AlternatingTrainer(g_terms=...)`.

    Pairings:

    - `random` (the paper's): the generated image with the real one whose grade it was made for. They show different
      eyes, so this draws all images of a grade together: watch the diversity.
    - `nearest`: the generated image with the nearest of the last real ones, of the same grade where there is one (as
      in implicit maximum likelihood estimation, Li and Malik 2018, arXiv:1809.09087).
    - `encoded`: the real image with `G(E(x))`; the encoder learns with the generator.

    Every `diversity_interval` steps `logs` holds the mean distance between neighbours in the batch of generated images
    (`diversity`) and of real ones (`diversity_real`): the first should not fall far below the second.

    The queue is part of the state, so that a resumed training is exact (with several processes each has a queue of its
    own, and the first one's is saved).

    Args:
        distance: from pairs `(B, 3, H, W)` in [0, 1] to `(B,)`, such as `LPIPSDR`; frozen.
        weight: factor; the adversarial term's is `NonSaturatingLoss(generator_weight=...)`.
        pairing: one of the above.
        generator: the `StyleGAN3`, for `encoded`. It is not part of this module's state.
        encoder: a `StyleEncoder`, for `encoded`; its parameters belong into the generator's optimiser.
        queue_size: real images to search, for `nearest`.
        image_size: their side.
        diversity_interval: steps between two measurements of the diversity; 0 for none.

    Raises:
        ValueError: for another pairing, or `encoded` without generator and encoder.

    Examples:
        >>> term = PerceptualPairing(distance=lambda x, y: (x - y).square().mean((1, 2, 3)), weight=0.5)
        >>> fake, real = torch.ones(2, 3, 4, 4), -torch.ones(2, 3, 4, 4)
        >>> term(AdversarialStep(real, fake, None, None, real, fake, None, None, None, None))
        tensor(0.5000)
    """

    def __init__(
        self,
        *,
        distance: Any,
        weight: float = 0.6,
        pairing: str = "random",
        generator: Any = None,
        encoder: nn.Module | None = None,
        queue_size: int = 256,
        image_size: int = 256,
        diversity_interval: int = 16,
    ) -> None:
        super().__init__()
        if pairing not in PAIRINGS:
            raise ValueError(f"pairing must be one of {', '.join(PAIRINGS)}, got {pairing!r}")
        if pairing == "encoded" and (generator is None or encoder is None):
            raise ValueError("pairing 'encoded' compares x with G(E(x)): give generator and encoder")
        self.weight, self.pairing, self.diversity_interval = weight, pairing, diversity_interval
        self.encoder = encoder if pairing == "encoded" else None
        self.queue = RealQueue(size=queue_size, image_size=image_size) if pairing == "nearest" else None
        # Neither is part of the state: the generator has its own, the distance is frozen.
        self._others = {"generator": generator, "distance": distance}
        self.logs: dict[str, Tensor] = {}
        self._steps = 0

    def _apply(self, fn: Any, recurse: bool = True) -> PerceptualPairing:
        super()._apply(fn, recurse)
        if isinstance(self._others["distance"], nn.Module):
            self._others["distance"]._apply(fn)
        return self

    def forward(self, step: AdversarialStep) -> Tensor:
        self.logs = self._diversity(step)
        preds, target = self._pair(step)
        return self.weight * self._distance(preds, target).mean()

    def _pair(self, step: AdversarialStep) -> tuple[Tensor, Tensor]:
        """What is drawn, with gradients, and what it is drawn to."""
        if self.encoder is not None:
            generator = self._others["generator"]
            return generator.synthesis(self.encoder(step.real, generator.w_avg)), step.real
        if self.queue is not None:
            grade = step.condition.get("grade")
            self.queue.push(step.real, grade)
            return step.fake, self.queue.nearest(step.fake, grade)
        return step.fake, step.real

    def _distance(self, preds: Tensor, target: Tensor) -> Tensor:
        preds = ((preds.float() + 1) / 2).clamp(-OVERSHOOT, 1 + OVERSHOOT)
        found: Tensor = self._others["distance"](preds, ((target.float() + 1) / 2).clamp(0, 1))
        return found

    @torch.no_grad()
    def _diversity(self, step: AdversarialStep) -> dict[str, Tensor]:
        self._steps += 1
        if not self.diversity_interval or (self._steps - 1) % self.diversity_interval or len(step.fake) < 2:
            return {}
        pairs = {"diversity": step.fake.detach(), "diversity_real": step.real}
        return {name: self._distance(images, images.roll(1, 0)).mean() for name, images in pairs.items()}
