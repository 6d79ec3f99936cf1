"""Feature matching: generated images should look like the real ones inside the discriminators.

Source: Salimans et al. 2016, arXiv:1606.03498; for pairs and all layers, Wang et al. 2018 (pix2pixHD,
arXiv:1711.11585) and Zhou et al. (DR-GAN), Eq. 1, second term.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from monai_retina_gen.losses.adversarial_step import AdversarialStep

__all__ = ["FeatureMatching"]


class FeatureMatching:
    """Distance between a discriminator's features of real images and of those generated from the same conditions.

    `weight * sum over scales, mean over layers of mean over the batch of ||D_p(c, x) - D_p(c, G(c))||_2 / sqrt(n_p)`
    with `n_p` numbers in a layer: the root of the mean square, so that layers and sizes weigh alike (the paper prints
    the norm alone). Where the discriminator's images are augmented, both of a pair are, by the same draws. A term for
    `AlternatingTrainer(g_terms=...)` whose discriminator returns `features`, a list of layers for each scale.

    Args:
        weight: the paper's 10.

    Raises:
        ValueError: for a negative weight.

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
