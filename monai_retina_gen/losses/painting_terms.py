"""Terms of a painter: errors inside holes, of lesions' colour, and where two versions of an eye differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from monai_retina_gen.losses.adversarial_step import AdversarialStep


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


class VersionChange:
    """`weight * sum(m |fake - real|) / sum(m)`, `m` where photograph and eye differ: a term of `AlternatingTrainer`.

    Args:
        weight: factor of the term.
        visible: difference of the green channel, in [-1, 1], from which on a pixel counts.
        margin: pixels around them that count as well.

    Examples:
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
