"""Wasserstein GAN of Cheng and Ye.

Source: "Application of Generative Adversarial Networks in augmentation of medical image datasets", section "GAN
Networks for Retina Synthesis".

The paper gives 100 latent numbers, a linear layer to 4x4x1024, four 5x5 fractionally strided convolutions, and four
5x5 strided convolutions in the critic. It does not say how layers are normalised; batch normalisation in both is that
of DCGAN, on which Arjovsky et al. 2017 build: without it weights of at most 0.01 let no signal through a critic.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.networks.latents import CuratedLatents


class DeconvolutionGenerator(CuratedLatents):
    """Generator of the Wasserstein GAN: unconditional, with a table of curated latents for grades.

    Args:
        image_size: side in pixels, a power of two.
        latent_dim: size of the latent.
        width: feature channels at half of the image's resolution; they double with every halving, up to 1024. The
            paper's width is 128, which gives 1024 at 4x4.
        latent_distribution: `uniform` (the paper's training) or `normal`.
        curated_per_class: places of the table for each grade.

    Shape:
        - `latent`: `(B, latent_dim)`; output `(B, 3, image_size, image_size)` in [-1, 1].

    Examples:
        >>> DeconvolutionGenerator(width=2, latent_dim=10).eval()(torch.rand(2, 10) * 2 - 1).shape
        torch.Size([2, 3, 64, 64])
    """

    conditional = False
    num_classes = 0

    def __init__(
        self,
        *,
        image_size: int = 64,
        latent_dim: int = 100,
        width: int = 32,
        latent_distribution: str = "uniform",
        curated_per_class: int = 100,
    ) -> None:
        super().__init__(latent_dim=latent_dim, distribution=latent_distribution, places=curated_per_class)
        self.image_size = image_size
        channels = _channels(image_size, width)[::-1]
        self.project = nn.Linear(latent_dim, channels[0] * 16, bias=False)
        self.start = nn.BatchNorm2d(channels[0])
        layers: list[nn.Module] = []
        for inside, outside in pairwise(channels):
            layers += [_double(inside, outside, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
        layers += [_double(channels[-1], 3, bias=True), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, latent: Tensor, grade: Tensor | None = None) -> Tensor:
        """Images of latents; `grade` is accepted, as by every generator, and ignored."""
        x = self.project(latent).unflatten(1, (-1, 4, 4))
        out: Tensor = self.layers(torch.relu(self.start(x)))
        return out


class StridedCritic(nn.Module):
    """Critic of the Wasserstein GAN: strided 5x5 convolutions and a linear layer, no sigmoid.

    Args:
        image_size: side in pixels, a power of two.
        width: as the generator's.

    Shape:
        - `image`: `(B, 3, image_size, image_size)` in [-1, 1]; output `(B,)`.

    Examples:
        >>> StridedCritic(width=2)(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(self, *, image_size: int = 64, width: int = 32) -> None:
        super().__init__()
        channels = _channels(image_size, width)
        layers: list[nn.Module] = []
        for inside, outside in zip([3, *channels], channels, strict=False):
            norm = [nn.BatchNorm2d(outside)] if inside != 3 else []
            layers += [nn.Conv2d(inside, outside, 5, 2, padding=2), *norm, nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.score = nn.Linear(channels[-1] * 16, 1)
        self.apply(_initialise)

    def forward(self, image: Tensor, grade: Tensor | None = None) -> Tensor:
        """Scores of images; `grade` is ignored."""
        out: Tensor = self.score(self.layers(image).flatten(1))
        return out.squeeze(1)


def _double(inside: int, outside: int, *, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(inside, outside, 5, 2, padding=2, output_padding=1, bias=bias)


def _channels(image_size: int, width: int) -> list[int]:
    """Channels after every halving of the image's side down to 4 pixels."""
    halvings = max(check_whole("image_size", image_size).bit_length() - 3, 0)
    if halvings < 1 or 4 * 2**halvings != image_size:
        raise ValueError(f"image_size must be a power of two of at least 8, got {image_size}")
    return [min(width * 2**i, 1024) for i in range(halvings)]


def _initialise(module: nn.Module) -> None:
    """Initialisation of DCGAN (Radford et al. 2016, section 4): N(0, 0.02)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
