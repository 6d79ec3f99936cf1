"""Blur of what a discriminator sees, which fades at the beginning of a training (Karras et al. 2021, arXiv:2106.12423).

Section F.3 there: without it the discriminator of configuration R turns to high frequencies before the generator has
learned the low ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class FadingBlur(nn.Module):
    r"""Blurs images with a kernel :math:`2^{-(k / \sigma)^2}, |k| \le 3 \sigma`, sigma falling linearly to 0.

    Goes before the augmentation in `AlternatingTrainer(augment=...)`; `FadingBlurHandler` tells it how many images the
    discriminator has seen.

    Args:
        images: images until it is gone; 0 never blurs, for a training that starts from trained networks.
        sigma: width at the beginning, in pixels.

    Shape:
        `(B, C, H, W)`, output alike.

    Raises:
        ValueError: for negative arguments.

    Examples:
        >>> blur = FadingBlur(images=1000, sigma=10.0)
        >>> blur.seen(900); round(blur.width, 4)
        1.0
        >>> image = torch.zeros(1, 1, 9, 9); image[..., 4, 4] = 1
        >>> round(blur(image).sum().item(), 4), blur(image)[0, 0, 4, 4] < 1
        (1.0, tensor(True))
        >>> blur.seen(1000); bool((blur(image) == image).all())
        True
    """

    def __init__(self, *, images: float, sigma: float = 10.0) -> None:
        super().__init__()
        if images < 0 or sigma < 0:
            raise ValueError(f"images {images} and sigma {sigma} must not be negative")
        self.images, self.sigma = images, sigma
        self.width = sigma if images else 0.0

    def seen(self, images: float) -> None:
        """Set the width for so many images seen."""
        self.width = self.sigma * max(1 - images / self.images, 0.0) if self.images else 0.0

    def forward(self, images: Tensor) -> Tensor:
        reach = math.floor(3 * self.width)
        if reach < 1:
            return images
        places = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        kernel = torch.exp2(-(places / self.width).square())
        kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1)
        images = nn.functional.conv2d(images, kernel[:, :, None], padding=(0, reach), groups=images.shape[1])
        return nn.functional.conv2d(images, kernel[..., None], padding=(reach, 0), groups=images.shape[1])
