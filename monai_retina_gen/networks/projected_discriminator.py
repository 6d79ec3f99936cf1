"""Discriminators on the frozen features of a network that was trained on other photographs.

Source: Sauer et al. 2021, "Projected GANs Converge Faster", arXiv:2111.01007, section 3: a feature pyramid, random
mixing of channels and then of scales, both fixed, and one small discriminator a scale with spectral normalisation
(Miyato et al. 2018, arXiv:1802.05957), whose scores are added by the loss. The form with grades is the projection of
Miyato and Koyama 2018, arXiv:1802.05637. That of painted photographs judges patches (Isola et al. 2017,
arXiv:1611.07004), with spectral normalisation as in free-form inpainting (Yu et al. 2019, arXiv:1806.03589), and sees
what was asked for and where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate, leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

SCORE_SIZE = 4
"""Side in places that every scale is brought down to."""

MASKS = 7
"""Planes that a `PaintingDiscriminator` is given: field of view, holes, vessels and lesions."""

DETAIL = 8.0
"""Lesions differ from the retina by about a tenth of the range: too little for a judge whose slope is bounded."""

GAIN = 8.0
"""Of its scores: spectral normalisation leaves little of a signal, and they must reach 1 within some tens of steps."""


class ProjectedDiscriminator(nn.Module):
    """Scores of images at several scales, learned on mixed features of a frozen network.

    Pyramid and mixing are fixed and part of the state, so that a training goes on with the same projection. There is
    nothing to export: a discriminator serves training alone, and is not scriptable.

    Args:
        features: network with `features_at(images in [0, 1], layers)`, such as `EfficientNetLite` with ImageNet's
            weights. It is frozen and stays in evaluation mode; gradients flow through it to the images.
        image_size: side of the images in pixels.
        layers: its layers, from fine to coarse; the paper's have strides 4, 8, 16 and 32.
        width: channels inside the discriminators.
        num_classes: number of grades; 0 does not look at them. One more label, the last, stands for "grade unknown".
        feature_size: side that images are resized to before the features; `None` leaves them as they are.

    Shape:
        - image: `(B, 3, image_size, image_size)` in [-1, 1]; grade: `(B,)` integers, or `None` for unknown.
        - output: `{"score": [...]}`, for each layer `(B, h, w)` scores of places, h and w at most 7; for
          `MultiScaleAdversarialLoss(base=HingeLoss())`.

    Raises:
        ValueError: for a network without `features_at`, or images of another size.

    Examples:
        >>> from monai_retina_gen.networks import EfficientNetLite
        >>> network = ProjectedDiscriminator(features=EfficientNetLite(variant="lite0"), image_size=64, width=8)
        >>> [tuple(score.shape) for score in network(torch.zeros(2, 3, 64, 64))["score"]]
        [(2, 4, 4), (2, 4, 4), (2, 4, 4), (2, 2, 2)]
    """

    def __init__(
        self,
        *,
        features: nn.Module,
        image_size: int,
        layers: Sequence[str] = ("stride4", "stride8", "stride16", "stride32"),
        width: int = 64,
        num_classes: int = 0,
        feature_size: int | None = None,
    ) -> None:
        super().__init__()
        self.features: Any = frozen_features(features)
        self.image_size, self.feature_size = image_size, feature_size or image_size
        self.layers, self.num_classes = list(layers), num_classes
        with torch.no_grad():
            maps = self._maps(torch.zeros(1, 3, self.feature_size, self.feature_size))
        self.mixing = FeatureMixing([len(x[0]) for x in maps])
        self.discriminators = nn.ModuleList(
            _Discriminator(len(x[0]), width, halvings=_halvings(x), num_classes=num_classes) for x in maps
        )

    def train(self, mode: bool = True) -> ProjectedDiscriminator:
        """Sets the mode of the discriminators; the pyramid stays in evaluation mode."""
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, image: Tensor, grade: Tensor | None = None) -> dict[str, list[Tensor]]:
        """Scores of images given their grades, from the finest scale to the coarsest."""
        if image.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(f"image: size {tuple(image.shape[-2:])} came, this network was made for {self.image_size}")
        if self.feature_size != self.image_size:
            image = interpolate(image, size=self.feature_size, mode="bilinear", align_corners=False)
        label = None
        if self.num_classes:
            label = torch.full(image.shape[:1], self.num_classes, device=image.device) if grade is None else grade
        maps = self.mixing(self._maps((image + 1) / 2))
        return {"score": [judge(x, label) for judge, x in zip(self.discriminators, maps, strict=True)]}

    def _maps(self, image: Tensor) -> list[Tensor]:
        found = self.features.features_at(image, self.layers)
        return [found[layer] for layer in self.layers]


def frozen_features(network: nn.Module) -> nn.Module:
    """The network, in evaluation mode and without gradients of its own; `ValueError` for one without `features_at`."""
    if not hasattr(network, "features_at"):
        raise ValueError(f"features {type(network).__name__} has no `features_at`: want EfficientNetLite or alike")
    return network.eval().requires_grad_(False)


def spectral_convolutions(widths: Sequence[int], *, strided: int) -> nn.ModuleList:
    """3x3 convolutions with spectral normalisation; the first `strided` are 4x4 and halve the size."""
    kernels = [(4, 2) if place < strided else (3, 1) for place in range(len(widths) - 1)]
    return nn.ModuleList(
        spectral_norm(nn.Conv2d(i, o, kernel, stride=stride, padding=1))
        for (i, o), (kernel, stride) in zip(pairwise(widths), kernels, strict=True)
    )


class FeatureMixing(nn.Module):
    """Fixed random mixing: 1x1 convolutions that keep the channels, then 3x3 ones from coarse scales to finer."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channel = nn.ModuleList(nn.Conv2d(c, c, 1) for c in channels)
        self.scale = nn.ModuleList(nn.Conv2d(coarse, fine, 3, padding=1) for fine, coarse in pairwise(channels))
        for module in (*self.channel, *self.scale):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
        self.requires_grad_(False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        mixed = [mix(x) for mix, x in zip(self.channel, maps, strict=True)]
        for index in range(len(self.scale) - 1, -1, -1):
            size = mixed[index].shape[-2:]
            coarse = interpolate(self.scale[index](mixed[index + 1]), size=size, mode="bilinear", align_corners=False)
            mixed[index] = mixed[index] + coarse
        return mixed


class _Discriminator(nn.Module):
    """Halves a map until few places are left, and scores each of them."""

    def __init__(self, inside: int, width: int, *, halvings: int, num_classes: int) -> None:
        super().__init__()
        self.layers = spectral_convolutions([inside, *[width] * (halvings + 1)], strided=halvings)
        self.score = spectral_norm(nn.Conv2d(width, 1, 1))
        self.embedding = spectral_norm(nn.Embedding(num_classes + 1, width)) if num_classes else None

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = leaky_relu(layer(x), 0.2)
        score: Tensor = self.score(x).squeeze(1)
        if self.embedding is not None:
            score = score + torch.einsum("bchw,bc->bhw", x, self.embedding(label)) / math.sqrt(x.shape[1])
        return score


def _halvings(x: Tensor) -> int:
    return max(0, int(math.log2(min(x.shape[-2:]) / SCORE_SIZE)))


class PaintingDiscriminator(nn.Module):
    """Scores of patches of photographs, with holes and masks, and how much each patch counts.

    Outside the holes real and painted photographs are the same: a patch counts by how much of it is hole, and more
    where a lesion is asked for. One judge looks at pixels, one more at each of the mixed maps of a frozen network.

    Args:
        base_width: channels of the first layer that sees pixels; doubled twice.
        layers: its strided convolutions, each of which halves the size.
        features: frozen network with `features_at(images in [0, 1], layers)`; no part of the state. `None`: pixels
            alone.
        feature_layers: its maps, from fine to coarse.
        feature_width: channels of the judges of features.
        lesion_weight: additional weight of a place where a lesion is asked for.

    Shape:
        - image: `(B, 3, H, W)` in [-1, 1]; canvas: `(B, 10, H, W)`, see `CANVAS_KEYS`; its photograph is not looked at.
        - output: `{"score": [...], "weight": [...]}`, for each judge `(B, h, w)`: pixels first, h being
          `H / 2 ** layers`; for `WeightedHinge`.

    Raises:
        ValueError: for features without `features_at`.

    Examples:
        >>> network = PaintingDiscriminator(base_width=4)
        >>> found = network(torch.zeros(2, 3, 64, 64), torch.zeros(2, 10, 64, 64))
        >>> found["score"][0].shape, float(found["weight"][0].sum())
        (torch.Size([2, 8, 8]), 0.0)
    """

    def __init__(
        self,
        *,
        base_width: int = 64,
        layers: int = 3,
        features: nn.Module | None = None,
        feature_layers: Sequence[str] = ("stride4", "stride8", "stride16"),
        feature_width: int = 128,
        lesion_weight: float = 4.0,
    ) -> None:
        super().__init__()
        self.feature_layers, self.lesion_weight = list(feature_layers), lesion_weight
        self._features: list[Any] = [] if features is None else [frozen_features(features)]
        widths = [base_width * min(2**level, 4) for level in range(layers)]
        self.pixels = _Judge([6 + MASKS, *widths, widths[-1]], strided=layers)
        channels = self._feature_channels()
        self.mixing = FeatureMixing(channels) if channels else None
        self.judges = nn.ModuleList(_Judge([c + MASKS, feature_width, feature_width]) for c in channels)

    def _apply(self, fn: Any, recurse: bool = True) -> PaintingDiscriminator:
        for network in self._features:
            network._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, image: Tensor, canvas: Tensor) -> dict[str, list[Tensor]]:
        field, hole = canvas[:, 3:4], canvas[:, 4:5]
        lesions = canvas[:, 6:] * hole
        masks = torch.cat([field, hole, canvas[:, 5:6] * field, lesions], dim=1)
        detail = DETAIL * (image - avg_pool2d(image, 25, stride=1, padding=12, count_include_pad=False))
        scores = [self.pixels(torch.cat([image, detail, masks], dim=1))]
        for judge, maps in zip(self.judges, self._maps(image), strict=True):
            here = adaptive_avg_pool2d(masks, (maps.shape[2], maps.shape[3])).to(maps.dtype)
            scores.append(judge(torch.cat([maps, here], dim=1)))
        weight = hole * (1 + self.lesion_weight * lesions.amax(1, keepdim=True))
        weights = [adaptive_avg_pool2d(weight, (score.shape[1], score.shape[2])).squeeze(1) for score in scores]
        return {"score": scores, "weight": weights}

    def _maps(self, image: Tensor) -> list[Tensor]:
        if self.mixing is None:
            return []
        found = self._features[0].features_at((image + 1) / 2, self.feature_layers)
        mixed: list[Tensor] = self.mixing([found[layer] for layer in self.feature_layers])
        return [x / (x.square().mean((1, 2, 3), keepdim=True) + 1e-6).sqrt() for x in mixed]  # as large as the masks

    @torch.no_grad()
    def _feature_channels(self) -> list[int]:
        if not self._features:
            return []
        place = next(self._features[0].parameters())
        found = self._features[0].features_at(place.new_zeros(1, 3, 64, 64), self.feature_layers)
        return [found[layer].shape[1] for layer in self.feature_layers]


class _Judge(nn.Module):
    """Convolutions with spectral normalisation, of which the first `strided` halve the size, and a score."""

    def __init__(self, widths: Sequence[int], strided: int = 0) -> None:
        super().__init__()
        self.layers = spectral_convolutions(widths, strided=strided)
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1)  # its scale is free

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = leaky_relu(layer(x), 0.2)
        score: Tensor = GAIN * self.score(x)
        return score.squeeze(1)
