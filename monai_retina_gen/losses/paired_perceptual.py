"""Perceptual loss of pairs: L1 between the features of a real image and of the one generated from its masks.

Source: Zhou et al. (DR-GAN), Eq. 1, third term: `||F_q(x) - F_q(G(c))||_1` over all layers of a VGG-19.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.losses.adversarial_step import AdversarialStep
from monai_retina_gen.losses.feature_distance import FeatureMaps

__all__ = ["PairedPerceptual"]

EPSILON = 1e-6


class PairedPerceptual(nn.Module):
    """Weighted mean over layers of the mean absolute difference of features.

    A term for `AlternatingTrainer(g_terms=...)` of a generator from masks: `step.real` and `step.fake` show one eye.
    The network is frozen and no part of the state.

    Args:
        network: with `features_at`, such as `FundusGrader` or `VGG19Features`.
        layers: that are compared; all that the network names by default.
        weight: the paper's 10.
        relative: divide each layer's difference by the mean absolute feature of the real image, so that the layers of
            any network weigh alike; `False` is Eq. 1.
        pixels: also compare the images themselves, as one more layer: a small network that was trained for grades
            leaves colour and sharpness open.

    Shape:
        - step: an `AdversarialStep` with images `(B, 3, H, W)` in [-1, 1]; output: a number.

    Raises:
        ValueError: for a network without `features_at`.

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
        if not isinstance(network, FeatureMaps):
            raise ValueError(f"network {type(network).__name__} has no `features_at`: want FundusGrader or alike")
        named: Any = network
        self.layers = tuple(layers or [name for name in named.layers if name])
        self.weight, self.relative, self.pixels = weight, relative, pixels
        self._network = [network.eval().requires_grad_(False)]  # in a list: not registered, so no part of the state

    def _apply(self, fn: Any, recurse: bool = True) -> PairedPerceptual:
        self._network[0]._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, step: AdversarialStep) -> Tensor:
        return self.weight * self.distance((step.fake + 1) / 2, (step.real + 1) / 2)

    def distance(self, preds: Tensor, target: Tensor) -> Tensor:
        """The distance before weighting.

        Args:
            preds: `(B, 3, H, W)` in [0, 1], with gradients.
            target: alike, without.

        Raises:
            ImageValueError: for unequal shapes.
        """
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
