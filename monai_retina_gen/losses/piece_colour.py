"""Colour of painted lesions, averaged over small places: an absolute error alone lets faint ones pass."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from monai_retina_gen.losses.adversarial_step import AdversarialStep

__all__ = ["PieceColour"]


class PieceColour:
    """`weight` times the squared error of lesions' mean colour around each place: a term of `AlternatingTrainer`.

    The absolute error is smallest at the median, which is that of the retina where a mask is wider than its lesion;
    the squared error of means is smallest at the mean. Each lesion that a batch asks for counts alike, be it a single
    cotton-wool spot.

    Args:
        weight: factor of the term.
        size: side of the places, in pixels, odd.

    Examples:
        >>> canvas = torch.zeros(1, 10, 16, 16)
        >>> canvas[:, 4], canvas[:, 7, 4:8, 4:8] = 1, 1
        >>> real, fake = torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), 0.5)
        >>> round(PieceColour(weight=2.0).distance(fake, real, canvas).item(), 4)
        0.5
        >>> PieceColour().distance(fake, real, canvas * 0).item()
        0.0
    """

    def __init__(self, *, weight: float = 50.0, size: int = 9) -> None:
        self.weight, self.size = weight, size

    def __call__(self, step: AdversarialStep) -> Tensor:
        return self.distance(step.fake, step.real, step.condition["canvas"])

    def distance(self, fake: Tensor, real: Tensor, canvas: Tensor) -> Tensor:
        """The term for images `(B, 3, H, W)` and their canvas `(B, 10, H, W)`."""
        lesions = canvas[:, 6:] * canvas[:, 4:5]
        share, difference = self._around(lesions), fake - real
        errors = [
            self._around(difference * lesions[:, i : i + 1]) / share[:, i : i + 1].clamp(min=1e-3)
            for i in range(lesions.shape[1])
        ]
        squares = torch.stack([error.square().mean(1) for error in errors], dim=1)
        total = share.sum((0, 2, 3))
        each = (squares * share).sum((0, 2, 3)) / total.clamp(min=1e-3)
        return self.weight * each.sum() / (total > 0).sum().clamp(min=1)

    def _around(self, planes: Tensor) -> Tensor:
        return avg_pool2d(planes, self.size, stride=4, padding=self.size // 2)
