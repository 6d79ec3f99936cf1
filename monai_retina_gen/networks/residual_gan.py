"""Residual generator and critic of WGAN-GP.

Sources: Kim et al., "Fake Data Generation for Medical Image Augmentation using GANs", section II (WGAN-GP whose
networks have residual blocks; no widths are given); Gulrajani et al. 2017 (arXiv:1704.00028), appendix C, for the
blocks; Miyato and Koyama 2018 (arXiv:1802.05637) for the class-conditional form: conditional batch normalisation in
the generator, projection in the critic. `num_classes=0` is the unconditional network of Kim et al.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.networks.latents import CuratedLatents
from monai_retina_gen.networks.layers import with_minibatch_deviation

RESIDUAL_CHANNELS = {
    64: (128, 128, 64, 32, 16),
    128: (128, 128, 64, 32, 16, 16),
    256: (128, 128, 64, 32, 16, 16, 16),
}
"""Default feature channels at 4 px and after every doubling; a larger network grows from the smaller one."""


class _ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose scale and shift belong to the class; ordinary where there are no classes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.film = nn.Embedding(max(classes, 1), 2 * channels)
        with torch.no_grad():
            self.film.weight[:, :channels], self.film.weight[:, channels:] = 1.0, 0.0

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        scale, shift = self.film(label)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = self.norm(x) * scale + shift
        return out


class _UpBlock(nn.Module):
    """Residual block that doubles the resolution."""

    def __init__(self, inside: int, outside: int, classes: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _ConditionalBatchNorm(inside, classes), _ConditionalBatchNorm(outside, classes)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.skip = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        h = _enlarge(torch.relu(self.norm1(x, label)))
        h = self.conv2(torch.relu(self.norm2(self.conv1(h), label)))
        return h + _enlarge(self.skip(x))  # 1x1 and enlargement commute; the small map first is a quarter of the work


def _enlarge(x: Tensor) -> Tensor:
    """Twice the size, bilinear: nearest neighbours leave their blocks in the images for tens of epochs."""
    return interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class _DownBlock(nn.Module):
    """Residual block that halves the resolution; the first one of a critic begins with a convolution."""

    def __init__(self, inside: int, outside: int, *, first: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.Identity() if first else _layer_norm(inside), _layer_norm(outside)
        self.first = first
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.skip = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x if self.first else torch.relu(self.norm1(x)))
        h = self.conv2(torch.relu(self.norm2(h)))
        return avg_pool2d(h, 2) + self.skip(avg_pool2d(x, 2))


def _layer_norm(channels: int) -> nn.Module:
    """Layer normalisation over channels and places: batch statistics would make the penalty one of the whole batch."""
    return nn.GroupNorm(1, channels)


class ResidualGenerator(CuratedLatents):
    """Residual generator, class-conditional or not; without classes, grades come from curation (`CuratedLatents`).

    Args:
        image_size: side in pixels, a power of two from 64 to 256 (others with `channels`).
        num_classes: number of grades; 0 is unconditional. One more label, the last, stands for "grade unknown".
        latent_dim: size of the latent.
        channels: feature channels at 4 px and after every doubling; by default `RESIDUAL_CHANNELS`.
        latent_distribution: `normal` or `uniform`.

    Shape:
        - `latent`: `(B, latent_dim)`; `grade`: `(B,)` integers, or `None` for unknown.
        - output: `(B, 3, image_size, image_size)` in [-1, 1].

    Examples:
        >>> network = ResidualGenerator(image_size=64, channels=(8, 8, 8, 8, 8), latent_dim=4).eval()
        >>> network(torch.randn(2, 4), torch.tensor([0, 4])).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self,
        *,
        image_size: int = 128,
        num_classes: int = 5,
        latent_dim: int = 128,
        channels: Sequence[int] | None = None,
        latent_distribution: str = "normal",
    ) -> None:
        super().__init__(latent_dim=latent_dim, distribution=latent_distribution, places=0 if num_classes else 100)
        channels = _channels(image_size, channels)
        self.image_size, self.num_classes, self.conditional = image_size, num_classes, num_classes > 0
        labels = num_classes + 1 if num_classes else 0
        self.project = nn.Linear(latent_dim, channels[0] * 16)
        blocks = [_UpBlock(i, o, labels) for i, o in pairwise(channels)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.BatchNorm2d(channels[-1])
        self.to_rgb = nn.Conv2d(channels[-1], 3, 3, padding=1)
        self.apply(_initialise)
        if channels[-1] == channels[-2]:  # start as an enlargement alone: of the images of a network that is grown
            nn.init.dirac_(blocks[-1].skip.weight)
            nn.init.zeros_(blocks[-1].conv2.weight)

    def forward(self, latent: Tensor, grade: Tensor | None = None) -> Tensor:
        """Images of latents and grades."""
        label = _labels(grade, self.num_classes, latent.shape[0], latent.device)
        x = self.project(latent).unflatten(1, (-1, 4, 4))
        for block in self.blocks:
            x = block(x, label)
        return torch.tanh(self.to_rgb(torch.relu(self.norm(x))))


class ResidualCritic(nn.Module):
    """Residual critic with layer normalisation and a projection of the class; arguments as the generator's.

    Shape:
        - `image`: `(B, 3, image_size, image_size)` in [-1, 1]; `grade`: `(B,)` or `None`; output `(B,)`.

    Examples:
        >>> ResidualCritic(image_size=64, channels=(8, 8, 8, 8, 8))(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2])
    """

    def __init__(self, *, image_size: int = 128, num_classes: int = 5, channels: Sequence[int] | None = None) -> None:
        super().__init__()
        widths = _channels(image_size, channels)[::-1]
        self.num_classes = num_classes
        self.blocks = nn.ModuleList(
            _DownBlock(i, o, first=n == 0) for n, (i, o) in enumerate(zip([3, *widths[:-2]], widths[:-1], strict=True))
        )
        last = widths[-2]
        self.conv = nn.Conv2d(last + 1, last, 3, padding=1)
        self.dense = nn.Linear(last * 16, last)
        self.score = nn.Linear(last, 1)
        self.apply(_initialise)
        nn.init.normal_(self.score.weight, 0.0, 0.02)  # small scores: the penalty has time to take hold
        self.embedding = nn.Embedding(num_classes + 1, last) if num_classes else None
        if self.embedding is not None:
            nn.init.zeros_(self.embedding.weight)

    def forward(self, image: Tensor, grade: Tensor | None = None) -> Tensor:
        """Scores of images given their grades."""
        x = image
        for block in self.blocks:
            x = block(x)
        x = torch.relu(x)
        x = torch.relu(self.conv(with_minibatch_deviation(x)))
        features = torch.relu(self.dense(x.flatten(1)))
        score: Tensor = self.score(features).squeeze(1)
        if self.embedding is not None:
            label = _labels(grade, self.num_classes, image.shape[0], image.device)
            score = score + (self.embedding(label) * features).sum(1) / math.sqrt(features.shape[1])
        return score


def _labels(grade: Tensor | None, num_classes: int, batch: int, device: torch.device) -> Tensor:
    """Rows of the label tables: 0 without classes, the last where the grade is unknown.

    `batch` is to be `shape[0]`, not `len`: a traced network would keep the number.
    """
    if num_classes == 0 or grade is None:
        return torch.full((batch,), num_classes, dtype=torch.long, device=device)
    return grade


def _channels(image_size: int, channels: Sequence[int] | None) -> list[int]:
    if channels is None and check_whole("image_size", image_size) not in RESIDUAL_CHANNELS:
        raise ValueError(
            f"image_size {image_size} has no default channels: choose {sorted(RESIDUAL_CHANNELS)}, or pass channels"
        )
    found = list(RESIDUAL_CHANNELS[image_size] if channels is None else channels)
    if 4 * 2 ** (len(found) - 1) != image_size:
        raise ValueError(f"{len(found)} channels make images of {4 * 2 ** (len(found) - 1)} px, not {image_size}")
    return found


def _initialise(module: nn.Module) -> None:
    """He initialisation, biases zero."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
