"""Discriminator of painted photographs: judges patches, and sees what was asked for and where.

Sources: patches after Isola et al. 2017 (arXiv:1611.07004); spectral normalisation, Miyato et al. 2018
(arXiv:1802.05957), together in free-form inpainting (Yu et al. 2019, arXiv:1806.03589); frozen features with random
mixing after Sauer et al. 2021 (arXiv:2111.01007).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, leaky_relu

from monai_retina_gen.networks.projected_discriminator import FeatureMixing, frozen_features, spectral_convolutions

MASKS = 7
"""Field of view, holes, vessels and lesions."""

DETAIL = 8.0
"""Lesions differ from the retina by about a tenth of the range: too little for a judge whose slope is bounded."""


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


GAIN = 8.0
"""Of scores: spectral normalisation leaves little of a signal, and scores have to reach 1 within some tens of steps."""


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
