"""Class-activation maps: where in a photograph a classifier sees a finding, learned from labels of whole images.

Sources: class-activation mapping, Zhou et al. 2016, arXiv:1512.04150; pooling by log-sum-exp, Pinheiro and Collobert
2015, arXiv:1411.6228, Eq. 2, since findings may cover a hundredth of the photograph, which an average would hide.
Zhou et al. (DR-GAN) take such maps of laser marks and proliferative membranes as masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from monai_retina_gen.networks.inputs import register_imagenet_colours
from monai_retina_gen.networks.layers import convolution


class ActivationMapClassifier(nn.Module):
    """Classifier whose last layer is a map per finding; the label of the image is the pooled map.

    From images `(B, 3, H, W)` in [0, 1] to logits `(B, findings)`; maps have `H / 2 ** (len(channels) - 1)` rows.
    `sharpness` is r of `1/r log mean exp(r s)` over the map s: towards 0 the mean (Zhou et al.), towards infinity the
    largest value.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        findings: Sequence[str] = ("laser", "membrane"),
        channels: Sequence[int] = (16, 32, 64),
        sharpness: float = 1.0,
    ) -> None:
        super().__init__()
        if not findings or not channels or not sharpness > 0:
            raise ValueError(
                f"findings={tuple(findings)}, channels={tuple(channels)}, sharpness={sharpness}: want at least one "
                "finding and one width, and a positive sharpness"
            )
        self.findings, self.sharpness = tuple(findings), sharpness
        layers: list[nn.Module] = []
        for index, width in enumerate(channels):
            before = channels[index - 1] if index else 3
            layers += [nn.MaxPool2d(2)] if index else []
            layers += [convolution(before, width), convolution(width, width)]
        self.body = nn.Sequential(*layers)
        self.evidence = nn.Conv2d(channels[-1], len(self.findings), 1)
        register_imagenet_colours(self)

    def forward(self, image: Tensor) -> Tensor:
        return self._pool(self._maps(image))

    @torch.no_grad()
    def activation_maps(self, image: Tensor) -> Tensor:
        """Maps `(B, findings, H, W)` in [0, 1]: positive evidence, relative to the strongest place of the image."""
        maps = self._maps(image).float().relu()
        strongest = maps.amax((2, 3), keepdim=True).clamp(min=1e-6)
        resized = interpolate(maps / strongest, image.shape[-2:], mode="bilinear", align_corners=False)
        return resized.clamp(0, 1)

    @torch.no_grad()
    def masks(self, image: Tensor, *, threshold: float = 0.4, present: float = 0.5) -> Tensor:
        """Masks `(B, findings, H, W)`, bool: maps from `threshold` on (0.2 in Zhou et al.), of findings seen."""
        seen = torch.sigmoid(self(image).float()) >= present
        return (self.activation_maps(image) >= threshold) & seen[:, :, None, None]

    def _maps(self, image: Tensor) -> Tensor:
        return self.evidence(self.body((image - self.mean) / self.std))

    def _pool(self, maps: Tensor) -> Tensor:
        scaled = self.sharpness * maps.float().flatten(2)
        return (torch.logsumexp(scaled, 2) - math.log(scaled.shape[2])) / self.sharpness
