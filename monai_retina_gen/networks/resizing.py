"""Square images at another side, the same way wherever a network or a judge sees them at its own size."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate


def resized(images: Tensor, side: int) -> Tensor:
    """Images `(B, C, S, S)` at another side: bilinear, antialiased, in [0, 1]; 0 leaves them as they are."""
    if not side or images.shape[-1] == side:
        return images
    return interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
