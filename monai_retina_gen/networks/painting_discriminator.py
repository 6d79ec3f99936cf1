"""Discriminator of painted photographs: judges patches, and sees what was asked for and where.

Sources: patches after Isola et al. 2017 (arXiv:1611.07004); spectral normalisation, Miyato et al. 2018
(arXiv:1802.05957), together in free-form inpainting (Yu et al. 2019, arXiv:1806.03589).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["PaintingDiscriminator"]


class PaintingDiscriminator(nn.Module):
    """Scores of patches of photographs, with holes and masks.

    Args:
        base_width: channels of the first layer; doubled twice.
        layers: strided convolutions, each of which halves the size.

    Shape:
        - image: `(B, 3, H, W)` in [-1, 1]; canvas: `(B, 10, H, W)`, see `CANVAS_KEYS`; its photograph is not looked at.
        - output: scores `(B, H / 2 ** layers, W / 2 ** layers)`.

    Examples:
        >>> network = PaintingDiscriminator(base_width=4)
        >>> network(torch.zeros(2, 3, 64, 64), torch.zeros(2, 10, 64, 64)).shape
        torch.Size([2, 8, 8])
    """

    def __init__(self, *, base_width: int = 64, layers: int = 3) -> None:
        super().__init__()
        widths = [3 + 7, *(base_width * min(2**level, 4) for level in range(layers))]
        convolutions = [nn.Conv2d(i, o, 4, stride=2, padding=1) for i, o in pairwise(widths)]
        convolutions.append(nn.Conv2d(widths[-1], widths[-1], 3, padding=1))
        self.layers = nn.ModuleList(spectral_norm(convolution) for convolution in convolutions)
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1)  # its scale is free: most of a patch is no hole

    def forward(self, image: Tensor, canvas: Tensor) -> Tensor:
        field, hole = canvas[:, 3:4], canvas[:, 4:5]
        x = torch.cat([image, field, hole, canvas[:, 5:6] * field, canvas[:, 6:] * hole], dim=1)
        for layer in self.layers:
            x = leaky_relu(layer(x), 0.2)
        score: Tensor = self.score(x)
        return score.squeeze(1)
