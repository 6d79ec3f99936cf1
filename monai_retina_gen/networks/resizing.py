"""Square images at another side, the same way wherever a network or a judge sees them at its own size."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

__all__ = ["resized"]


def resized(images: Tensor, side: int) -> Tensor:
    """Images at another side: bilinear, antialiased, clamped to [0, 1].

    Args:
        images: `(B, 3, S, S)` in [0, 1].
        side: in pixels; 0, or the images' own, returns them as they are.

    Returns:
        `(B, 3, side, side)` in [0, 1].

    Examples:
        >>> import torch
        >>> resized(torch.ones(1, 3, 8, 8), 4).shape
        torch.Size([1, 3, 4, 4])
    """
    if not side or images.shape[-1] == side:
        return images
    return interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
