"""Blocks of DR-GAN's generator: mapping of grading vectors, adaptive normalisation, synthesis and residual blocks.

Source: Zhou et al. (DR-GAN), sections III.A (encoding, residual and synthesis blocks) and III.D (adaptive grading
manipulation, Eq. 2); AdaIN after Huang and Belongie 2017, arXiv:1703.06868.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import instance_norm, interpolate

from monai_retina_gen.networks.drgan_attention import SpatialChannelAttention
from monai_retina_gen.networks.grading_space import GradingSpace

__all__ = ["NORMS", "UPSAMPLINGS", "GradeMapping", "ResidualBlock", "SynthesisBlock", "norm_layer", "up_layer"]

NORMS = ("instance", "batch")
UPSAMPLINGS = ("resize", "transposed")
EPSILON = 1e-5


def norm_layer(norm: str, channels: int) -> nn.Module:
    """Normalisation of encoders and residual blocks, `instance` or `batch`."""
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels, affine=True)


def up_layer(upsampling: str, inside: int, outside: int) -> nn.Module:
    """Twice the size: a transposed convolution, or bilinear interpolation and a convolution."""
    if upsampling == "transposed":
        return nn.ConvTranspose2d(inside, outside, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), nn.Conv2d(inside, outside, 3, padding=1)
    )


class GradeMapping(nn.Module):
    """Draws grading vectors from the latent grading spaces and maps them by four layers to an embedding.

    The spaces are buffers, so that they are stored with the generator. Vectors are centred and scaled by the spaces'
    own mean and deviation first: features of a grader can have any scale.

    Args:
        dimension: of the grader's features.
        rank: see `GradingSpace`.
        num_classes: grades.
        width: of the layers and the embedding.

    Shape:
        - grade: `(B,)`; normal: `(B, dimension + rank)` standard normal numbers; output: `(B, width)`.

    Examples:
        >>> mapping = GradeMapping(dimension=8, rank=2, num_classes=5, width=16)
        >>> mapping(torch.tensor([0, 4]), torch.zeros(2, 10)).shape
        torch.Size([2, 16])
    """

    def __init__(self, *, dimension: int, rank: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.space = GradingSpace(dimension=dimension, num_classes=num_classes, rank=rank)
        layers: list[nn.Module] = []
        for inside in (dimension, width, width, width):
            layers += [nn.Linear(inside, width), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, grade: Tensor, normal: Tensor) -> Tensor:
        vector = self.space.from_normal(normal, grade)
        fitted = (self.space.count >= 2)[:, None].to(vector.dtype)
        number = fitted.sum().clamp(min=1)
        centre = (self.space.mean * fitted).sum(0) / number
        squares = (self.space.mean - centre).square() + self.space.std.square() + self.space.factor.square().sum(1)
        deviation = ((squares * fitted).sum(0) / number + EPSILON).sqrt()
        embedding: Tensor = self.layers((vector - centre) / deviation)
        return embedding


class _AdaptiveNorm(nn.Module):
    """Eq. 2: scale and bias of every normalised channel, from the embedding, or learned where there is none."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.affine = nn.Linear(embedding, 2 * channels) if embedding else None
        self.bias = nn.Parameter(torch.cat([torch.ones(channels), torch.zeros(channels)]))
        if self.affine is not None:
            nn.init.normal_(self.affine.weight, std=0.02)  # grades begin alike
            nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        found = self.bias[None]
        if self.affine is not None and embedding is not None:
            found = found + self.affine(embedding)
        scale, bias = found[:, :, None, None].chunk(2, dim=1)
        return scale * instance_norm(x, eps=EPSILON) + bias


class SynthesisBlock(nn.Module):
    """Doubles the size: upsampling, noise, grading vector, encoder features and masks, attention.

    Noise volumes of a quarter of the channels are fused by a 1x1 convolution, and AdaIN applies the grading vector; the
    encoder's features of the same size and the resized masks are concatenated and convolved; SCA follows.

    Args:
        inside: channels of the input.
        outside: channels of the output.
        skip: channels of the encoder's features; 0 for none.
        condition: channels of the condition map.
        embedding: width of the mapped grading vector; 0 for none.
        upsampling: see `up_layer`.
        attention: the block's SCA; `None` for none.

    Shape:
        - x: `(B, inside, H, W)`; noise: `(B, noise_channels, 2 H, 2 W)`; skip: `(B, skip, 2 H, 2 W)`; condition:
          `(B, condition, h, w)` of any size; embedding: `(B, embedding)`; output: `(B, outside, 2 H, 2 W)`.
    """

    def __init__(
        self,
        *,
        inside: int,
        outside: int,
        skip: int,
        condition: int,
        embedding: int,
        upsampling: str,
        attention: SpatialChannelAttention | None,
    ) -> None:
        super().__init__()
        self.noise_channels = max(outside // 4, 1)
        self.up = up_layer(upsampling, inside, outside)
        self.fuse = nn.Conv2d(outside + self.noise_channels, outside, 1)
        self.norm = _AdaptiveNorm(outside, embedding)
        self.merge = nn.Conv2d(outside + skip + condition, outside, 3, padding=1)
        self.attention = attention

    def forward(
        self, x: Tensor, noise: Tensor, skip: Tensor | None, condition: Tensor, embedding: Tensor | None
    ) -> Tensor:
        x = self.up(x)
        x = torch.relu(self.norm(self.fuse(torch.cat([x, noise.to(x.dtype)], dim=1)), embedding))
        masks = resized_masks(condition, x.shape[-2], x.shape[-1]).to(x.dtype)
        x = torch.cat([x, masks] if skip is None else [x, skip, masks], dim=1)
        x = torch.relu(self.merge(x))
        return x if self.attention is None else self.attention(x)


class ResidualBlock(nn.Module):
    """Two convolutions with normalisation, added to the input.

    Examples:
        >>> ResidualBlock(channels=8, norm="instance")(torch.rand(1, 8, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(self, *, channels: int, norm: str) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, padding=1), norm_layer(norm, channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, padding=1), norm_layer(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))


def resized_masks(condition: Tensor, height: int, width: int) -> Tensor:
    """Masks at another size: averaged where smaller, so that a small lesion fades but does not vanish."""
    if condition.shape[-2:] == (height, width):
        return condition
    return interpolate(condition, size=(height, width), mode="area")
