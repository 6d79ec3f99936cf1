"""Absolute error inside the holes of a canvas, with more weight where lesions are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_retina_gen.losses.adversarial_step import AdversarialStep

__all__ = ["HoleError"]


class HoleError:
    """`weight * sum(w |fake - real|) / sum(w)` over the pixels of holes: a term of `AlternatingTrainer`.

    `w` is 1 in a hole, and `lesion_weights` more where a lesion is asked for: small lesions are few pixels.

    Args:
        weight: factor of the term.
        lesion_weights: additional weight of a pixel of each lesion, in the order of `PAINTED_LESIONS`.

    Examples:
        >>> canvas = torch.zeros(1, 10, 4, 4)
        >>> canvas[:, 4, 0] = 1
        >>> real, fake = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5)
        >>> HoleError(weight=2.0).distance(fake, real, canvas)
        tensor(1.)
    """

    def __init__(self, *, weight: float = 10.0, lesion_weights: Sequence[float] = (8.0, 6.0, 4.0, 4.0)) -> None:
        self.weight, self.lesion_weights = weight, tuple(lesion_weights)

    def __call__(self, step: AdversarialStep) -> Tensor:
        return self.distance(step.fake, step.real, step.condition["canvas"])

    def distance(self, fake: Tensor, real: Tensor, canvas: Tensor) -> Tensor:
        """The term for images `(B, 3, H, W)` and their canvas `(B, 10, H, W)`."""
        lesions = [weight * canvas[:, 6 + i : 7 + i] for i, weight in enumerate(self.lesion_weights)]
        weight = canvas[:, 4:5] * (1 + torch.cat(lesions, dim=1).amax(1, keepdim=True))
        error = ((fake - real).abs() * weight).sum() / (fake.shape[1] * weight.sum()).clamp(min=1)
        return self.weight * error
