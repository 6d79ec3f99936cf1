"""Spatial and channel attention (SCA) of DR-GAN.

Source: Zhou et al. (DR-GAN), section III.B and Fig. 2, after DANet (Fu et al. 2019, arXiv:1809.02983).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad, scaled_dot_product_attention

__all__ = ["CHANNEL_ENERGIES", "SpatialChannelAttention"]

CHANNEL_ENERGIES = ("mean", "sum")
NARROWEST = 4
"""Channels of the first two branches at least: C / 32 of a narrow network would be one number a place."""


class SpatialChannelAttention(nn.Module):
    """Attention over places and over channels of a feature map, each with a residual, summed after a convolution each.

    Spatial: `I_s = I + I_3 softmax(I_1^T I_2)`, where `I_1`, `I_2` (of `channels / reduction`) and `I_3` are
    convolutions of the input `I`; the softmax is over the places that are summed over, and nothing is scaled. Channel:
    `I_c = I + softmax(I I^T) I` over the channels that are summed over. Output: `a conv(I_s) + b conv(I_c)` with
    learned weights `a`, `b`. All convolutions are 1x1 (the paper gives no size).

    `softmax(I_1^T I_2)` has `(H W)^2` entries: it is never stored (`scaled_dot_product_attention`). Where a side of the
    map is longer than `exact_side`, every place attends to keys and values that are averaged over squares, so that
    there are at most `exact_side` of them along a side. At the paper's 320 x 320 the exact form is 10^10 entries,
    impossible as printed.

    Args:
        channels: of the input and output.
        reduction: the paper's d: 8, 16, 32 from the coarsest to the finest map; the branches have at least 4 channels.
        exact_side: side of the largest map that attends to all of its places.
        channel_energy: `"sum"` is `I I^T` as printed: it adds over thousands of places, so that the softmax is almost
            one-hot and hardly learns, and it changes with the size of the image. `"mean"` divides by the places.

    Shape:
        - input and output: `(B, channels, H, W)`.

    Raises:
        ValueError: for another `channel_energy`, or numbers below 1.

    Examples:
        >>> SpatialChannelAttention(channels=16, reduction=4)(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """

    def __init__(self, *, channels: int, reduction: int = 8, exact_side: int = 80, channel_energy: str = "sum") -> None:
        super().__init__()
        if channel_energy not in CHANNEL_ENERGIES:
            raise ValueError(f"channel_energy={channel_energy!r}: want one of {', '.join(CHANNEL_ENERGIES)}")
        if min(channels, reduction, exact_side) < 1:
            raise ValueError(
                f"channels={channels}, reduction={reduction}, exact_side={exact_side}: want numbers of at least 1"
            )
        self.exact_side, self.channel_energy = exact_side, channel_energy
        narrow = max(channels // reduction, min(NARROWEST, channels))
        self.keys, self.queries = nn.Conv2d(channels, narrow, 1), nn.Conv2d(channels, narrow, 1)
        self.values = nn.Conv2d(channels, channels, 1)
        self.after_spatial, self.after_channel = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.weights = nn.Parameter(torch.full((2,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        first = self.after_spatial(x + self._spatial(x))
        second = self.after_channel(x + self._channel(x))
        return self.weights[0] * first + self.weights[1] * second

    def _spatial(self, x: Tensor) -> Tensor:
        attended = self._pooled(x)
        queries = self.queries(x).flatten(2).transpose(1, 2)
        keys, values = (conv(attended).flatten(2).transpose(1, 2) for conv in (self.keys, self.values))
        if x.device.type == "cpu":
            # The implementation on the CPU that does not store the map wants all three equally wide.
            queries, keys = (pad(part, (0, values.shape[-1] - part.shape[-1])) for part in (queries, keys))
        # One head: the dimension must be there for the implementations that do not store the map.
        found = scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None], scale=1.0)[:, 0]
        return found.transpose(1, 2).unflatten(2, x.shape[2:])

    def _pooled(self, x: Tensor) -> Tensor:
        """The map that is attended to: no more than `exact_side` squared places."""
        side = max(x.shape[2:])
        if side <= self.exact_side:
            return x
        # Convolutions of 1x1 and averages commute: the small map first.
        return avg_pool2d(x, math.ceil(side / self.exact_side), ceil_mode=True)

    def _channel(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        with torch.autocast(x.device.type, enabled=False):  # sums over many places
            wide = flat.float()
            energy = wide @ wide.transpose(1, 2)
            if self.channel_energy == "mean":
                energy = energy / flat.shape[2]
            attention = torch.softmax(energy, dim=2).to(flat.dtype)
        return (attention @ flat).unflatten(2, x.shape[2:])
