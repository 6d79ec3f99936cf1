"""Encoder of what styles cannot say of a photograph: where its vessels run.

Sources: Yao et al. 2022, "A Style-Based GAN Encoder for High Fidelity Reconstruction", arXiv:2202.02183, and Wang et
al. 2022, "High-Fidelity GAN Inversion", arXiv:2109.06590: beside the styles, maps for one layer of the generator.
Ours are added to what that layer reads, so that the styles of all layers still act.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["DetailEncoder"]

MAP_STRIDE = 4


class DetailEncoder(nn.Module):
    """Maps for layer `synthesis.detail_layer` of a `StyleGAN3`.

    Args:
        channels: of the maps that the layer reads.
        size: their side, margin included.
        sampling_rate: samples to the image's side.
        width: channels inside.
        bottleneck: channels that all of the photograph passes through.

    Shape:
        - image: `(B, 3, S, S)`, -1..1; S is `4 * sampling_rate`.
        - output: `(B, channels, size, size)`, 0 in the margin.

    Examples:
        >>> from monai_retina_gen.networks import StyleGAN3
        >>> network = StyleGAN3(image_size=64, z_dim=8, w_dim=8, channel_base=256, channel_max=8)
        >>> encoder = DetailEncoder.of(network, width=8, bottleneck=4)
        >>> detail = encoder(torch.zeros(2, 3, 64, 64))
        >>> network.synthesis(network.mapping(torch.zeros(2, 8))).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(self, *, channels: int, size: int, sampling_rate: int, width: int = 96, bottleneck: int = 24) -> None:
        super().__init__()
        self.margin = (size - sampling_rate) // 2
        self.first = nn.Conv2d(3 * MAP_STRIDE**2, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Residual(width) for _ in range(4))
        self.narrow = nn.Conv2d(width, bottleneck, 1)
        self.last = nn.Conv2d(bottleneck, channels, 1, bias=False)
        with torch.no_grad():  # the generator begins without
            self.last.weight.mul_(0.1)

    @classmethod
    def of(cls, network: Any, **options: Any) -> DetailEncoder:
        """The encoder for a `StyleGAN3`.

        Args:
            network: gives `channels`, `size` and `sampling_rate`.
            options: `width`, `bottleneck`.
        """
        reads = network.synthesis.layers[network.synthesis.detail_layer - 1].plan.source
        return cls(channels=reads.channels, size=reads.size, sampling_rate=reads.sampling_rate, **options)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(nn.functional.pixel_unshuffle(image, MAP_STRIDE))
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.last(self.narrow(x))
        return nn.functional.pad(found, [self.margin] * 4)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0, self.conv1 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.norm0, self.norm1 = (nn.GroupNorm(min(8, width), width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv0(nn.functional.silu(self.norm0(x)))
        y = self.conv1(nn.functional.silu(self.norm1(y)))
        return x + y
