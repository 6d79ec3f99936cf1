"""Fourier features: the input of StyleGAN3's synthesis network.

Source: Karras et al., "Alias-Free Generative Adversarial Networks", arXiv:2106.12423, sections 3.2 and F.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from monai_retina_gen.networks.equalized_linear import EqualizedLinear
from monai_retina_gen.networks.stylegan3_schedule import Signal

__all__ = ["FourierInput"]


class FourierInput(nn.Module):
    """Sines of fixed random frequencies, rotated and translated by the style, mixed by a learned matrix.

    Args:
        signal: the maps to make.
        w_dim: size of w.

    Shape:
        - style: `(B, 4)`: cosine and sine of a rotation (normalised here) and a translation.
        - transform: `(3, 3)` or `(B, 3, 3)`, the inverse of the transform of the image; by default the buffer
          `transform`.
        - output: `(B, channels, size, size)`.

    Examples:
        >>> layer = FourierInput(signal=Signal(2.0, 4.0, 16, 6.0, 36, 8), w_dim=5)
        >>> layer(layer.affine(torch.randn(2, 5))).shape
        torch.Size([2, 8, 36, 36])
    """

    frequencies: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, *, signal: Signal, w_dim: int) -> None:
        super().__init__()
        self.signal = signal
        self.affine = EqualizedLinear(in_features=w_dim, out_features=4, weight_init=0.0)
        with torch.no_grad():
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))  # no rotation, no translation
        self.weight = nn.Parameter(torch.randn(signal.channels, signal.channels))
        frequencies = torch.randn(signal.channels, 2)
        radius = frequencies.norm(dim=1, keepdim=True)
        frequencies = frequencies / (radius * radius.square().exp().pow(0.25)) * signal.cutoff
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", torch.rand(signal.channels) - 0.5)
        self.register_buffer("transform", torch.eye(3))

    def forward(self, style: Tensor, transform: Tensor | None = None) -> Tensor:
        matrix = _pose(style) @ (self.transform if transform is None else transform.to(style))
        frequencies = self.frequencies @ matrix[:, :2, :2]
        phases = self.phases + (self.frequencies @ matrix[:, :2, 2:]).squeeze(2)
        x = self._grid() @ frequencies[:, None].mT + phases[:, None, None]
        # Frequencies that the transform brought above the band limit fade out.
        nyquist, cutoff = self.signal.sampling_rate / 2, self.signal.cutoff
        amplitude = (1 - (frequencies.norm(dim=2) - cutoff) / (nyquist - cutoff)).clamp(0, 1)
        x = torch.sin(2 * math.pi * x) * amplitude[:, None, None]
        mixed = x @ (self.weight / math.sqrt(self.signal.channels)).T
        return mixed.permute(0, 3, 1, 2).contiguous()

    def _grid(self) -> Tensor:
        # Pixel centres in units of the image's side: the image is -0.5..0.5, the margin lies around it.
        size = self.signal.size
        axis = torch.arange(size, device=self.phases.device, dtype=self.phases.dtype)
        axis = (axis + 0.5 - size / 2) / self.signal.sampling_rate
        return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)


def _pose(style: Tensor) -> Tensor:
    """Rotation times translation, `(B, 3, 3)`, from `(cosine, sine, x, y)`."""
    style = style / style[:, :2].norm(dim=1, keepdim=True)
    cosine, sine, x, y = style.unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rotation = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], dim=1).view(-1, 3, 3)
    translation = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).view(-1, 3, 3)
    return rotation @ translation
