"""Absolute error where two versions of an eye differ: lesions are few pixels, which a mean over the image overlooks."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import max_pool2d

from monai_retina_gen.losses.adversarial_step import AdversarialStep

__all__ = ["VersionChange"]


class VersionChange:
    """`weight * sum(m |fake - real|) / sum(m)`, `m` where photograph and eye differ: a term of `AlternatingTrainer`.

    Args:
        weight: factor of the term.
        visible: difference of the green channel, in [-1, 1], from which on a pixel counts.
        margin: pixels around them that count as well.

    Examples:
        >>> import torch
        >>> photograph, eye, fake = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
        >>> photograph[..., 4, 4] = 1
        >>> float(VersionChange(weight=9.0, margin=1).distance(fake, photograph, photograph, eye))
        1.0
    """

    def __init__(self, *, weight: float = 20.0, visible: float = 0.06, margin: int = 2) -> None:
        self.weight, self.visible, self.margin = weight, visible, margin

    def __call__(self, step: AdversarialStep) -> Tensor:
        return self.distance(step.fake, step.real, step.condition["photograph"], step.condition["eye"])

    def distance(self, fake: Tensor, real: Tensor, photograph: Tensor, eye: Tensor) -> Tensor:
        """The term for images `(B, 3, H, W)` in [-1, 1]; 0 where all versions are equal."""
        changed = ((photograph - eye)[:, 1:2].abs() > self.visible).to(fake.dtype)
        near = max_pool2d(changed, 2 * self.margin + 1, stride=1, padding=self.margin)
        return self.weight * ((fake - real).abs() * near).sum() / (3 * near.sum()).clamp(min=1)
