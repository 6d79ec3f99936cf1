"""Inversion by optimisation alone, in W, W+ or S: slow, and the reference for everything faster.

Sources: Karras et al. 2020, arXiv:1912.04958, section 5 and appendix D (schedule and noise); for S, Wu et al. 2021,
arXiv:2011.12799.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.editing.style.encoder_inversion import check_photographs
from monai_retina_gen.editing.style.inversion import (
    SPACES,
    Inversion,
    InversionError,
    StyleParameters,
    invert_styles,
    joined,
)
from monai_retina_gen.networks import latent_statistics
from monai_retina_gen.networks.style_encoder import flipped, mirrored_photographs

RAMP_UP, RAMP_DOWN, NOISE, NOISE_END = 0.05, 0.25, 0.05, 0.75


def projector_rate(step: int, steps: int, highest: float = 0.1) -> float:
    """Learning rate of a step: linear up over the first twentieth, along a cosine down over the last quarter."""
    t = step / steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / RAMP_DOWN))
    return highest * down * min(1.0, t / RAMP_UP)


def projector_noise(step: int, steps: int) -> float:
    """Deviation of the noise that a step adds to w, as a share of the spread of w; 0 in the last quarter."""
    return NOISE * max(0.0, 1 - step / steps / NOISE_END) ** 2


class OptimisationInversion(nn.Module):
    """Styles of photographs by Adam from the mean latent of their grade.

    Args:
        network: the trained `StyleGAN3`.
        space: `w` (one latent for all layers), `w+` (one for each) or `s` (W+ and every style).
        steps: of Adam.
        seed: of the noise; a photograph's does not depend on its place in a batch.

    The other arguments are those of `EncoderInversion`.

    Shape:
        - images: `(B, 3, S, S)` in [0, 1]; grades: `(B,)`.

    Raises:
        ValueError: for another space or no steps.
        ImageValueError: for images of another side or range.

    Examples:
        >>> from monai_retina_gen.losses import LPIPSDR
        >>> from monai_retina_gen.networks import FundusGrader, StyleGAN3
        >>> network = StyleGAN3(image_size=32, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
        >>> distance = LPIPSDR(network=FundusGrader(backbone="vgg16", width=0.125, num_classes=2))
        >>> invert = OptimisationInversion(network, distance=distance, space="w", steps=3)
        >>> invert(torch.rand(1, 3, 32, 32), torch.tensor([2])).styles.shape
        torch.Size([1, 124])
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        distance: nn.Module,
        space: str = "s",
        steps: int = 1000,
        learning_rate: float = 0.1,
        pixel_weight: float = 1.0,
        perceptual_weight: float = 1.0,
        offset_weight: float = 0.01,
        batch_size: int = 16,
        one_sided: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if space not in SPACES or steps < 1:
            raise ValueError(f"space must be one of {', '.join(SPACES)} and steps positive, got {space!r} and {steps}")
        self._network: tuple[Any] = (network,)
        self.error = InversionError(distance, pixel_weight=pixel_weight, perceptual_weight=perceptual_weight)
        self.space, self.steps, self.learning_rate = space, steps, learning_rate
        self.offset_weight, self.batch_size, self.seed = offset_weight, batch_size, seed
        self.one_sided = one_sided

    @property
    def settings(self) -> dict[str, Any]:
        """What, beside the weights, an inversion depends on."""
        names = ("steps", "space", "learning_rate", "offset_weight", "one_sided", "seed")
        weights = {"pixel_weight": self.error.pixel_weight, "perceptual_weight": self.error.perceptual_weight}
        return {"method": "optimisation", **{name: getattr(self, name) for name in names}, **weights}

    def forward(self, images: Tensor, grades: Tensor) -> Inversion:
        network = self._network[0]
        images = check_photographs(images, network, grades)
        mirrored = mirrored_photographs(network, images) if self.one_sided else None
        images = flipped(images, mirrored)
        with torch.inference_mode(False):  # tensors of inference mode know no gradients
            means, spread, sigma = latent_statistics(network, samples=10_000)
            own = grades.clone().long().to(means.device) if network.num_classes else torch.zeros(len(grades)).long()
            parts = [
                self._invert(few, means[which.to(means.device)], spread, sigma)
                for few, which in zip(images.clone().split(self.batch_size), own.split(self.batch_size), strict=True)
            ]
        return joined(parts, mirrored)

    def _invert(self, images: Tensor, mean: Tensor, spread: Tensor, sigma: Tensor) -> Inversion:
        network = self._network[0]
        latents = 1 if self.space == "w" else network.num_ws
        ws = mean[:, None].expand(-1, latents, -1).clone()
        start = StyleParameters(network, ws, sigma, ws.new_zeros(len(ws), len(sigma)))
        drawn = torch.Generator().manual_seed(self.seed)

        def noise(step: int) -> Tensor:
            # The same for every photograph, so that none depends on those beside it.
            one = torch.randn(1, latents, network.w_dim, generator=drawn).to(ws)
            return one * spread * projector_noise(step, self.steps)

        rates = [projector_rate(step, self.steps, self.learning_rate) for step in range(self.steps)]
        return invert_styles(
            start, images, self.error, space=self.space, rates=rates, noise=noise, offset_weight=self.offset_weight
        )
