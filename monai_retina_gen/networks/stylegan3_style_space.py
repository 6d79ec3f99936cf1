"""Style space of StyleGAN3: all style vectors as one flat vector, and how far latents and styles spread.

Source: Wu et al., "StyleSpace Analysis", arXiv:2011.12799: channels of this space are more disentangled than w.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

__all__ = ["StyleSpace", "latent_statistics", "pinned_styles"]


class StyleSpace:
    """Map between the flat index k of a style channel and its (layer, channel).

    Args:
        names: of the layers, in the order of the style list.
        widths: style channels of each layer.

    Examples:
        >>> space = StyleSpace(names=["input", "L0", "rgb"], widths=[4, 8, 8])
        >>> space.size, space.locate(5), space.index(1, 1)
        (20, (1, 1), 5)
        >>> [s.shape[1] for s in space.split(torch.zeros(2, 20))]
        [4, 8, 8]
    """

    def __init__(self, *, names: Sequence[str], widths: Sequence[int]) -> None:
        self.names, self.widths = tuple(names), tuple(widths)
        self.offsets = (0, *accumulate(self.widths))
        self.size = self.offsets[-1]

    def locate(self, k: int) -> tuple[int, int]:
        """Layer (index into the style list) and channel of the flat index `k`."""
        if not 0 <= k < self.size:
            raise IndexError(f"style channel {k} is not in 0..{self.size - 1}")
        layer = bisect_right(self.offsets, k) - 1
        return layer, k - self.offsets[layer]

    def index(self, layer: int, channel: int) -> int:
        """Flat index of a channel of a layer."""
        if not 0 <= layer < len(self.widths) or not 0 <= channel < self.widths[layer]:
            raise IndexError(f"layer {layer}, channel {channel} is not in this space: widths are {self.widths}")
        return self.offsets[layer] + channel

    def flatten(self, styles: Sequence[Tensor]) -> Tensor:
        """Styles of all layers as `(B, size)`."""
        self.check(styles)
        return torch.cat(list(styles), dim=1)

    def split(self, flat: Tensor) -> list[Tensor]:
        """The style list of `(B, size)`."""
        if flat.ndim != 2 or flat.shape[1] != self.size:
            raise ValueError(f"flat styles must be (B, {self.size}), got {tuple(flat.shape)}")
        return list(flat.split(self.widths, dim=1))

    def check(self, styles: Sequence[Tensor]) -> None:
        """Raise `ValueError` unless `styles` has one `(B, width)` tensor for each layer."""
        got = tuple(tuple(style.shape[1:]) for style in styles)
        if got != tuple((width,) for width in self.widths):
            raise ValueError(f"styles must be {len(self.widths)} tensors (B, width) of widths {self.widths}, got {got}")


def pinned_styles(network: Any, ws: Tensor) -> list[Tensor]:
    """Styles of latents `(B, num_ws, w_dim)` with the input's rotation and translation held at those of the mean."""
    styles: list[Tensor] = network.styles(ws)
    pose = network.synthesis.input.affine(network.w_avg[None])
    return [pose.expand(len(ws), -1), *styles[1:]]


@torch.no_grad()
def latent_statistics(network: Any, *, samples: int = 1000, seed: int = 123) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and spread of w, and deviations of the styles, over fixed latents, all grades alike.

    Returns:
        mean of w for each grade `(num_classes, w_dim)` (one row where unconditional), root of the summed variance of w
        (a number: the projector's `w_std`), and the standard deviation of every style channel `(K,)`.
    """
    device, classes = network.w_avg.device, max(network.num_classes, 1)
    drawn = torch.Generator().manual_seed(seed)
    latents = torch.randn(samples, network.z_dim, generator=drawn, dtype=torch.float32).to(device)
    each = [latents.new_full((samples,), grade, dtype=torch.long) for grade in range(classes)]
    ws = [network.mapping(latents, grade if network.num_classes else None)[:, 0] for grade in each]
    means = torch.stack([w.mean(0) for w in ws])
    spread = torch.stack([(w - w.mean(0)).square().sum(1).mean() for w in ws]).mean().sqrt()
    expanded = torch.cat(ws)[:, None].expand(-1, network.num_ws, -1)
    return means, spread, network.style_space.flatten(network.styles(expanded)).std(0)
