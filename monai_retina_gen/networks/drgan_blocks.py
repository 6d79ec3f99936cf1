"""Blocks of DR-GAN's generator: mapping of grading vectors, adaptive normalisation, attention, synthesis, residuals.

Source: Zhou et al. (DR-GAN), sections III.A (encoding, residual and synthesis blocks), III.B and Fig. 2 (spatial and
channel attention, after DANet: Fu et al. 2019, arXiv:1809.02983) and III.D (adaptive grading manipulation, Eq. 2);
AdaIN after Huang and Belongie 2017, arXiv:1703.06868; the second stage after pix2pixHD (Wang et al. 2018,
arXiv:1711.11585).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, instance_norm, interpolate, pad, scaled_dot_product_attention

from monai_retina_gen.networks.grading_space import GradingSpace

__all__ = [
    "CHANNEL_ENERGIES",
    "NORMS",
    "UPSAMPLINGS",
    "FineStage",
    "GradeMapping",
    "ResidualBlock",
    "SpatialChannelAttention",
    "SynthesisBlock",
    "norm_layer",
    "resized_masks",
    "up_layer",
]

NORMS = ("instance", "batch")
UPSAMPLINGS = ("resize", "transposed")
EPSILON = 1e-5
CHANNEL_ENERGIES = ("mean", "sum")
NARROWEST = 4
"""Channels of the first two branches at least: C / 32 of a narrow network would be one number a place."""


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
        self.layers, self.epsilon = nn.Sequential(*layers), EPSILON

    def forward(self, grade: Tensor, normal: Tensor) -> Tensor:
        vector = self.space.from_normal(normal, grade)
        fitted = (self.space.count >= 2)[:, None].to(vector.dtype)
        number = fitted.sum().clamp(min=1)
        centre = (self.space.mean * fitted).sum(0) / number
        squares = (self.space.mean - centre).square() + self.space.std.square() + self.space.factor.square().sum(1)
        deviation = ((squares * fitted).sum(0) / number + self.epsilon).sqrt()
        embedding: Tensor = self.layers((vector - centre) / deviation)
        return embedding


class _AdaptiveNorm(nn.Module):
    """Eq. 2: scale and bias of every normalised channel, from the embedding, or learned where there is none."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.epsilon = EPSILON
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
        return scale * instance_norm(x, eps=self.epsilon) + bias


class SpatialChannelAttention(nn.Module):
    """Attention over places and over channels of a feature map, each with a residual, summed after a convolution each.

    Spatial: `I_s = I + I_3 softmax(I_1^T I_2)`, where `I_1`, `I_2` (of `channels / reduction`) and `I_3` are
    convolutions of the input `I`; the softmax is over the places that are summed over, and nothing is scaled. Channel:
    `I_c = I + softmax(I I^T) I` over the channels that are summed over. Output: `a conv(I_s) + b conv(I_c)` with
    learned weights `a`, `b`. All convolutions are 1x1 (the paper gives no size).

    `softmax(I_1^T I_2)` has `(H W)^2` entries: it is never stored (`scaled_dot_product_attention`). Where a side of the
    map is longer than `exact_side`, every place attends to keys and values that are averaged over squares, so that
    there are at most `exact_side` of them along a side. At the paper's 320 x 320 the exact form is 10^10 entries,
    impossible as printed.

    Args:
        channels: of the input and output.
        reduction: the paper's d: 8, 16, 32 from the coarsest to the finest map; the branches have at least 4 channels.
        exact_side: side of the largest map that attends to all of its places.
        channel_energy: `"sum"` is `I I^T` as printed: it adds over thousands of places, so that the softmax is almost
            one-hot and hardly learns, and it changes with the size of the image. `"mean"` divides by the places.

    Shape:
        - input and output: `(B, channels, H, W)`.

    Raises:
        ValueError: for another `channel_energy`, or numbers below 1.

    Examples:
        >>> SpatialChannelAttention(channels=16, reduction=4)(torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """

    def __init__(self, *, channels: int, reduction: int = 8, exact_side: int = 80, channel_energy: str = "sum") -> None:
        super().__init__()
        if channel_energy not in CHANNEL_ENERGIES:
            raise ValueError(f"channel_energy={channel_energy!r}: want one of {', '.join(CHANNEL_ENERGIES)}")
        if min(channels, reduction, exact_side) < 1:
            raise ValueError(
                f"channels={channels}, reduction={reduction}, exact_side={exact_side}: want numbers of at least 1"
            )
        self.exact_side, self.channel_energy = exact_side, channel_energy
        narrow = max(channels // reduction, min(NARROWEST, channels))
        self.keys, self.queries = nn.Conv2d(channels, narrow, 1), nn.Conv2d(channels, narrow, 1)
        self.values = nn.Conv2d(channels, channels, 1)
        self.after_spatial, self.after_channel = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.weights = nn.Parameter(torch.full((2,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        first = self.after_spatial(x + self._spatial(x))
        second = self.after_channel(x + self._channel(x))
        return self.weights[0] * first + self.weights[1] * second

    def _spatial(self, x: Tensor) -> Tensor:
        attended = self._pooled(x)
        queries = self.queries(x).flatten(2).transpose(1, 2)
        keys = self.keys(attended).flatten(2).transpose(1, 2)
        values = self.values(attended).flatten(2).transpose(1, 2)
        if x.device.type == "cpu":
            # The implementation on the CPU that does not store the map wants all three equally wide.
            wider = values.shape[-1] - keys.shape[-1]
            queries, keys = pad(queries, [0, wider]), pad(keys, [0, wider])
        # One head: the dimension must be there for the implementations that do not store the map.
        found = scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None], scale=1.0)[:, 0]
        return found.transpose(1, 2).unflatten(2, x.shape[2:])

    def _pooled(self, x: Tensor) -> Tensor:
        """The map that is attended to: no more than `exact_side` squared places."""
        side = max(x.shape[2:])
        if side <= self.exact_side:
            return x
        # Convolutions of 1x1 and averages commute: the small map first.
        return avg_pool2d(x, math.ceil(side / self.exact_side), ceil_mode=True)

    def _channel(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        if torch.jit.is_scripting():
            attention = self._channel_attention(flat)
        else:
            with torch.autocast(x.device.type, enabled=False):  # sums over many places
                attention = self._channel_attention(flat)
        return (attention @ flat).unflatten(2, x.shape[2:])

    def _channel_attention(self, flat: Tensor) -> Tensor:
        wide = flat.float()
        energy = wide @ wide.transpose(1, 2)
        if self.channel_energy == "mean":
            energy = energy / flat.shape[2]
        return torch.softmax(energy, dim=2).to(flat.dtype)


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
    if condition.shape[-2] == height and condition.shape[-1] == width:
        return condition
    return interpolate(condition, size=[height, width], mode="area")


class FineStage(nn.Module):
    """G_l: two convolutions down to the coarse size, the sum with the coarse features, and two up."""

    def __init__(self, condition: int, width: int, norm: str, upsampling: str) -> None:
        super().__init__()
        narrow = max(width // 2, 1)
        self.down = nn.Sequential(
            nn.Conv2d(condition, narrow, 7, padding=3),
            norm_layer(norm, narrow),
            nn.ReLU(),
            nn.Conv2d(narrow, width, 3, stride=2, padding=1),
            norm_layer(norm, width),
            nn.ReLU(),
        )
        self.up = nn.Sequential(up_layer(upsampling, width, narrow), norm_layer(norm, narrow), nn.ReLU())
        self.to_rgb = nn.Conv2d(narrow, 3, 7, padding=3)

    def forward(self, condition: Tensor, coarse: Tensor) -> Tensor:
        image: Tensor = self.to_rgb(self.up(self.down(condition) + coarse))
        return image
