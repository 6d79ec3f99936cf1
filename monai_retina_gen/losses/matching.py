"""Terms that compare a real image with the one generated from its masks, inside networks.

Sources: features of the discriminator, Salimans et al. 2016, arXiv:1606.03498; for pairs and all layers, Wang et al.
2018 (pix2pixHD, arXiv:1711.11585) and Zhou et al. (DR-GAN), Eq. 1, second term; features of a VGG-19, its third term.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.losses.adversarial import AdversarialStep
from monai_retina_gen.losses.feature_distance import layers_of


class FeatureMatching:
    """Distance between a discriminator's features of real images and of those generated from the same conditions.

    `weight * sum over scales, mean over layers of mean over the batch of ||D_p(c, x) - D_p(c, G(c))||_2 / sqrt(n_p)`
    with `n_p` numbers in a layer: the root of the mean square, so that layers and sizes weigh alike (the paper prints
    the norm alone). Where the discriminator's images are augmented, both of a pair are, by the same draws. A term for
    `AlternatingTrainer(g_terms=...)` whose discriminator returns `features`, a list of layers for each scale.

    Args:
        weight: the paper's 10; not negative.

    Examples:
        >>> one, two = {"features": [[torch.zeros(2, 3)]]}, {"features": [[torch.ones(2, 3)]]}
        >>> FeatureMatching(weight=10.0).distance(one, two)
        tensor(1.)
    """

    def __init__(self, *, weight: float = 10.0) -> None:
        if weight < 0:
            raise ValueError(f"weight must not be negative, got {weight}")
        self.weight = weight

    def __call__(self, step: AdversarialStep) -> Tensor:
        with torch.no_grad():
            real = step.score(step.augment_alike(step.real))
        return self.weight * self.distance(real, step.fake_scores)

    def distance(self, real: dict[str, list[list[Tensor]]], fake: dict[str, list[list[Tensor]]]) -> Tensor:
        """The distance before weighting, of the outputs for real and generated images."""
        total = torch.zeros(())
        for reals, fakes in zip(real["features"], fake["features"], strict=True):
            layers = [_distance(x.detach(), y) for x, y in zip(reals, fakes, strict=True)]
            total = total.to(layers[0]) + torch.stack(layers).mean()
        return total


def _distance(real: Tensor, fake: Tensor) -> Tensor:
    difference = (real.float() - fake.float()).flatten(1)
    # vector_norm has a gradient of zero, not NaN, where real and generated are equal
    return torch.linalg.vector_norm(difference, dim=1).mean() / math.sqrt(difference.shape[1])


EPSILON = 1e-6


class PairedPerceptual(nn.Module):
    """Weighted mean over layers of the mean absolute difference of features.

    A term for `AlternatingTrainer(g_terms=...)` of a generator from masks: `step.real` and `step.fake`, `(B, 3, H, W)`
    in [-1, 1], show one eye. The network is frozen and no part of the state.

    Args:
        network: with `features_at`, such as `FundusGrader` or `VGG19Features`; `ValueError` for one without.
        layers: that are compared; all that the network names by default.
        weight: the paper's 10.
        relative: divide each layer's difference by the mean absolute feature of the real image, so that the layers of
            any network weigh alike; `False` is Eq. 1.
        pixels: also compare the images themselves, as one more layer: a small network that was trained for grades
            leaves colour and sharpness open.

    Examples:
        >>> from monai_retina_gen.networks import FundusGrader
        >>> term = PairedPerceptual(network=FundusGrader(backbone="vgg16", width=0.125, num_classes=2))
        >>> x = torch.rand(2, 3, 32, 32)
        >>> term.distance(x, x)
        tensor(0.)
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        layers: Sequence[str] | None = None,
        weight: float = 10.0,
        relative: bool = True,
        pixels: bool = True,
    ) -> None:
        super().__init__()
        self.layers = layers_of(network, layers)
        self.weight, self.relative, self.pixels = weight, relative, pixels
        self._network = [network.eval().requires_grad_(False)]  # in a list: not registered, so no part of the state

    def _apply(self, fn: Any, recurse: bool = True) -> PairedPerceptual:
        self._network[0]._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, step: AdversarialStep) -> Tensor:
        return self.weight * self.distance((step.fake + 1) / 2, (step.real + 1) / 2)

    def distance(self, preds: Tensor, target: Tensor) -> Tensor:
        """The distance before weighting, of images `(B, 3, H, W)` in [0, 1]; `ImageValueError` for unequal shapes."""
        if preds.shape != target.shape:
            raise ImageValueError(f"preds {tuple(preds.shape)} and target {tuple(target.shape)} differ in shape")
        network: Any = self._network[0]
        with torch.autocast(preds.device.type, enabled=False):
            with torch.no_grad():
                real = network.features_at(target.float(), self.layers)
            fake = network.features_at(preds.float(), self.layers)
            pairs = [(real[layer], fake[layer]) for layer in self.layers]
            if self.pixels:
                pairs.append((target.float(), preds.float()))
            return torch.stack([self._layer(x, y) for x, y in pairs]).mean()

    def _layer(self, real: Tensor, fake: Tensor) -> Tensor:
        difference = (real - fake).abs().mean()
        return difference / (real.abs().mean() + EPSILON) if self.relative else difference


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
