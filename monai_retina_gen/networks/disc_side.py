"""Networks that draw the optic disc on one side only: photographs of other eyes are mirrored for them.

Left and right eyes mirror each other. A small network learns one of them far better than both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.networks.stylegan3 import pinned_styles


@torch.no_grad()
def mean_eye(network: Any) -> Tensor:
    """What a `StyleGAN3` makes of its mean latent, `(1, 3, S, S)` in [-1, 1]."""
    ws = network.w_avg.expand(1, network.num_ws, -1)
    image: Tensor = network.synthesize_from_styles(pinned_styles(network, ws))
    return image


@torch.no_grad()
def mirrored_photographs(network: Any, images: Tensor, mean: Tensor | None = None) -> Tensor:
    """Which photographs show their disc on the other side than a one-sided network draws it, `(B,)`.

    Those that are more like the mirror image of the network's mean eye (`mean`, where it is there already) than like
    it.
    """
    mean = (mean_eye(network) if mean is None else mean).to(images)
    return ((mean - mean.flip(-1)) * images).sum((1, 2, 3)) < 0


def flipped(images: Tensor, mirrored: Tensor | None) -> Tensor:
    """Images `(B, C, H, W)`, those of the rows `mirrored` left to right; `None` flips none.

    Examples:
        >>> flipped(torch.tensor([[[[1, 2]]], [[[3, 4]]]]), torch.tensor([False, True])).flatten().tolist()
        [1, 2, 4, 3]
    """
    if mirrored is None:
        return images
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(-1), images)
