"""The images of a batch should differ as much as photographs do: a term against mode collapse.

Source: Yang et al. 2019, "Diversity-Sensitive Conditional GANs", arXiv:1901.09024, whose bounded distance of images is
here the deviation over a batch, bounded by that of the photographs, and taken in bands of a Laplacian pyramid: colours
that differ do not make up for vessels that are the same in all eyes.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from monai_retina_gen.losses.adversarial_step import AdversarialStep

__all__ = ["BatchSpread"]


class BatchSpread:
    """`weight` times the share by which generated images differ less than photographs: a term of `AlternatingTrainer`.

    For each band, the standard deviation over the batch is averaged over places and colours; the term is the mean over
    the bands of `max(0, 1 - fake / real)`: 0 where the images differ enough, `weight` where all are one image.

    Args:
        weight: factor of the term.
        bands: of the Laplacian pyramid, from the finest; the last one holds all that is coarser.

    Shape:
        - images `(B, C, H, W)`, the same number of both, H and W divisible by `2 ** (bands - 1)`.

    Examples:
        >>> real = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> BatchSpread(weight=2.0).distance(real, real).item()
        0.0
        >>> round(BatchSpread(weight=2.0).distance(real[:1].expand_as(real), real).item(), 2)
        2.0
    """

    def __init__(self, *, weight: float = 10.0, bands: int = 4) -> None:
        if bands < 1:
            raise ValueError(f"bands: {bands} came, at least 1 is wanted")
        self.weight, self.bands = weight, bands

    def __call__(self, step: AdversarialStep) -> Tensor:
        return self.distance(step.fake, step.real)

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        """The term for generated images and photographs."""
        pairs = zip(self._spread(fake.float()), self._spread(real.float()), strict=True)
        return self.weight * torch.stack([(1 - f / r.clamp(min=1e-6)).clamp(min=0) for f, r in pairs]).mean()

    def _spread(self, images: Tensor) -> list[Tensor]:
        found = []
        for band in range(self.bands):
            coarse = avg_pool2d(images, 2) if band < self.bands - 1 else torch.zeros_like(images[..., :1, :1])
            fine = images - interpolate(coarse, size=images.shape[-2:], mode="bilinear", align_corners=False)
            found.append((fine.var(0, unbiased=False) + 1e-8).sqrt().mean())
            images = coarse
        return found
