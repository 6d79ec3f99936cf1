"""Segmenter of lesions, optic disc and vessels on features that ImageNet taught: a U-Net around an EfficientNet-Lite.

Sources: U-Net, Ronneberger et al. 2015; encoder after Tan and Le 2019 (see `EfficientNetLite`); prior of the output
bias after Lin et al. 2017, section 3.3.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from monai_retina_gen.networks.efficientnet_lite import EfficientNetLite
from monai_retina_gen.networks.lesion_segmenter import PRIOR, STRUCTURES

FINEST = 24
SKIPS = ["stride16", "stride8", "stride4", "stride2"]


class LiteSegmenter(nn.Module):
    """Logits of masks; structures may overlap, so that each has its own sigmoid.

    Args:
        structures: names of the output channels.
        variant: of the encoder, see `EfficientNetLite`; it starts from random weights.
        channels: widths of the decoder at the encoder's strides 16, 8, 4 and 2; the full resolution has 24.
        enlarge: give the encoder the photograph at twice its size, so that its first features have a pixel's
            resolution: a microaneurysm is two or three pixels wide. Four times the work in the encoder.

    Shape:
        - image: `(B, 3, H, W)` in [0, 1], any size from 32; the normalisation is inside.
        - output: logits `(B, structures, H, W)`.

    Raises:
        ValueError: for another number of widths.

    Examples:
        >>> LiteSegmenter(structures=["ma", "ex"]).eval()(torch.rand(1, 3, 64, 80)).shape
        torch.Size([1, 2, 64, 80])
    """

    def __init__(
        self,
        *,
        structures: Sequence[str] = STRUCTURES,
        variant: str = "lite0",
        channels: Sequence[int] = (128, 96, 64, 32),
        enlarge: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != len(SKIPS):
            raise ValueError(f"channels={tuple(channels)}: four widths are wanted, from the coarsest to the finest")
        self.structures, self.enlarge, self.skips = tuple(structures), enlarge, list(SKIPS)
        self.encoder = EfficientNetLite(variant=variant)
        self.encoder.network.conv_head, self.encoder.network.bn2 = nn.Identity(), nn.Identity()  # a classifier's
        finest = [] if enlarge else [FINEST]
        beside, widths = [self.encoder.channels[name] for name in SKIPS] + finest, [*channels, *finest]
        below = [self.encoder.channels["stride32"], *widths[:-1]]
        self.decoder = nn.ModuleList(_Up(a, b, c) for a, b, c in zip(below, beside, widths, strict=True))
        self.pixels = nn.Identity() if enlarge else _convolution(3, FINEST)
        self.head = nn.Conv2d(widths[-1], len(self.structures), 1)
        # Lesions cover a thousandth of a photograph: from sigmoid(0) the first steps would only unlearn them.
        nn.init.constant_(self.head.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        seen = interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False) if self.enlarge else image
        maps = self.encoder.features_at(seen, self.encoder.layers)
        maps["stride1"] = self.pixels(2 * image - 1)
        names = self.skips + ["stride1"]  # noqa: RUF005  # TorchScript unpacks no list
        found = maps["stride32"]
        for place, block in enumerate(self.decoder):
            found = block(found, maps[names[place]])
        logits: Tensor = self.head(found)
        return logits


class _Up(nn.Module):
    """Twice the resolution, together with the encoder's map there."""

    def __init__(self, below: int, beside: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_convolution(below + beside, channels), _convolution(channels, channels))

    def forward(self, below: Tensor, beside: Tensor) -> Tensor:
        enlarged = interpolate(below, size=beside.shape[-2:], mode="bilinear", align_corners=False)
        found: Tensor = self.layers(torch.cat([enlarged, beside], 1))
        return found


def _convolution(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )
