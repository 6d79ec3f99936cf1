"""Changes whose effect on the label is known: harmless ones that keep it, and planted ones that do not.

A gate is worth what it refuses of the second at a stated rate of refusals of the first.
"""

from __future__ import annotations

import torch
from monai.networks.layers import gaussian_1d, separable_filtering
from monai.transforms import Compose, RandAdjustContrast, RandGaussianNoise, RandGaussianSmooth, RandScaleIntensity
from torch import Tensor

from monai_retina_gen.data.plain_tensor import plain_tensor

SOFTENING = 0.004
"""Standard deviation of the soft edge of a planted lesion, as a share of the image's side."""
BACKGROUND = 0.03
"""Standard deviation of the blur that gives the background behind a lesion, as a share of the image's side."""


def harmless_change(image: Tensor, seed: int) -> Tensor:
    """The same photograph `(3, H, W)` with slightly other exposure, focus and noise: nothing that a grader may heed."""
    change = Compose(
        [
            RandScaleIntensity(factors=0.04, prob=1.0),
            RandAdjustContrast(gamma=(0.95, 1.05), prob=1.0),
            RandGaussianSmooth(sigma_x=(0.2, 0.6), sigma_y=(0.2, 0.6), prob=1.0),
            RandGaussianNoise(std=0.01, prob=1.0),
        ]
    )
    change.set_random_state(seed)
    return plain_tensor(change(image)).clamp(0, 1)


def transplant_lesions(target: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """`target` with the lesions of another photograph, by its mask: where it had none, its grade is 2 or more.

    Added is the difference of a lesion from its own background, inside the field of view of `target`.
    """
    soft = _soften(mask) * (target.amax(0, keepdim=True) > 0.06)
    return (target + soft * (source - _background(source, mask))).clamp(0, 1)


def erase_lesions(image: Tensor, mask: Tensor) -> Tensor:
    """`image` with its lesions filled from their background: where all are marked, its grade falls to 0."""
    soft = _soften(mask)
    return (image * (1 - soft) + _background(image, mask) * soft).clamp(0, 1)


def _soften(mask: Tensor) -> Tensor:
    """The mask widened and with a soft edge: annotations stop short of a lesion's halo."""
    sigma = SOFTENING * mask.shape[-1]
    return (2.5 * _blur(mask.float(), 2 * sigma)).clamp(0, 1)


def _background(image: Tensor, mask: Tensor) -> Tensor:
    """Mean of the surroundings without the lesions: a normalised convolution."""
    keep = (1 - _soften(mask)) * (image.amax(0, keepdim=True) > 0.06) + 1e-4
    sigma = BACKGROUND * image.shape[-1]
    return _blur(image * keep, sigma) / _blur(keep, sigma)


def _blur(image: Tensor, sigma: float) -> Tensor:
    kernel = gaussian_1d(torch.tensor(max(sigma, 0.1)), truncated=3.0, approx="sampled", normalize=True)
    return separable_filtering(image[None], [kernel.to(image)] * 2, mode="reflect")[0]
