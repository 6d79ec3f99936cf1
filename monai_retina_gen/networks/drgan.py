"""Generator of DR-GAN: fundus photographs from masks of vessels, disc and lesions, and a grade.

Source: Zhou et al., "DR-GAN: Conditional Generative Adversarial Network for Fine-Grained Lesion Synthesis on Diabetic
Retinopathy Images", sections III.A (encoding, residual and synthesis blocks), III.B and Fig. 2 (spatial and channel
attention, after DANet: Fu et al. 2019, arXiv:1809.02983) and III.D (adaptive grading manipulation, Eq. 2); AdaIN after
Huang and Belongie 2017, arXiv:1703.06868; the coarse-to-fine stages after pix2pixHD (Wang et al. 2018,
arXiv:1711.11585).

What differs from the paper, and why:

- The synthesis block at full size also reads the masks, without attention: at 128 or 256 px a microaneurysm is a pixel,
  which strided convolutions lose.
- Encoder and residual blocks use instance normalisation by default. The paper's batches are of 16; in ours, batch
  statistics of sparse lesion masks change from batch to batch, and the averages of evaluation fit none.
- Enlarging is bilinear with a convolution by default; transposed convolutions leave checkerboards.
- Attention: see `SpatialChannelAttention`.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, instance_norm, interpolate, pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from monai_retina_gen.data.condition_map import CONDITION_KEYS
from monai_retina_gen.networks.grading_space import GradingSpace

REDUCTIONS = (8, 16, 32)
"""The paper's d of the attention at an eighth, a quarter and half of the size."""
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
    """Draws grading vectors from the latent grading spaces and maps them by four layers to an embedding `(B, width)`.

    The spaces are buffers, so that they are stored with the generator. Vectors are centred and scaled by the spaces'
    own mean and deviation first: features of a grader can have any scale.
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

    Spatial: `I_s = I + I_3 softmax(I_1^T I_2)`, where `I_1`, `I_2` (of `channels / reduction`, the paper's d, but at
    least 4) and `I_3` are convolutions of the input `I`; the softmax is over the places that are summed over, and
    nothing is scaled. Channel: `I_c = I + softmax(I I^T) I` over the channels that are summed over. Output: `a
    conv(I_s) + b conv(I_c)` with learned weights `a`, `b`. All convolutions are 1x1 (the paper gives no size).

    `softmax(I_1^T I_2)` has `(H W)^2` entries: it is never stored (`scaled_dot_product_attention`). Where a side of the
    map is longer than `exact_side`, every place attends to keys and values that are averaged over squares, so that
    there are at most `exact_side` of them along a side. At the paper's 320 x 320 the exact form is 10^10 entries,
    impossible as printed.

    `channel_energy="sum"` is `I I^T` as printed: it adds over thousands of places, so that the softmax is almost
    one-hot and hardly learns, and it changes with the size of the image. `"mean"` divides by the places.
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
    encoder's features of the same size (`skip` channels) and the resized masks are concatenated and convolved; SCA
    follows.
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
    """Two convolutions with normalisation, added to the input."""

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


class CoarseStage(nn.Module):
    """G_m: encoder, residual blocks, synthesis blocks, and the grade from the last encoding."""

    def __init__(
        self,
        *,
        condition: int,
        width: int,
        residual_blocks: int,
        num_classes: int,
        embedding: int,
        attention: dict[str, Any] | None,
        norm: str,
        upsampling: str,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        widths = [width * factor for factor in (1, 2, 4, 8)]
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, k, stride=2, padding=k // 2), norm_layer(norm, o), nn.ReLU())
            for i, o, k in zip([condition, *widths], widths, (7, 3, 3, 3), strict=False)
        )
        self.residual = nn.Sequential(*(ResidualBlock(channels=widths[-1], norm=norm) for _ in range(residual_blocks)))
        self.grade_conv = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.grade_head = nn.Linear(widths[-1], num_classes)
        # From an eighth of the size to the full one; encoder features at all but the last.
        skips, reductions = [*widths[2::-1], 0], [*REDUCTIONS, 0]
        self.blocks: Any = nn.ModuleList(
            SynthesisBlock(
                inside=i,
                outside=o,
                skip=skip,
                condition=condition,
                embedding=embedding,
                upsampling=upsampling,
                attention=SpatialChannelAttention(channels=o, reduction=d, **attention) if d and attention else None,
            )
            for i, o, skip, d in zip([widths[-1], *widths[::-1]], widths[::-1], skips, reductions, strict=False)
        )
        self.to_rgb = nn.Conv2d(width, 3, 7, padding=3)

    def encode(self, condition: Tensor) -> list[Tensor]:
        """Features at half, a quarter, an eighth and a sixteenth of the size."""
        found: list[Tensor] = []
        for layer in self.encoder:
            condition = layer(condition)
            found.append(condition)
        return found

    def grade(self, encoded: Tensor) -> Tensor:
        """Logits of the grade: one more convolution and global average pooling of the last encoding."""
        logits: Tensor = self.grade_head(torch.relu(self.grade_conv(encoded)).mean((2, 3)))
        return logits

    def synthesize(
        self, condition: Tensor, encoded: list[Tensor], noise: list[Tensor], embedding: Tensor | None
    ) -> Tensor:
        """The last features, at full size."""
        x: Tensor = self.residual(encoded[-1])
        if len(noise) != len(self.blocks):
            raise ValueError(f"noise: {len(noise)} volumes came, wanted {len(self.blocks)}")
        for i, block in enumerate(self.blocks):
            skip: Tensor | None = None
            if i < 3:
                skip = encoded[2 - i]
            if not torch.jit.is_scripting() and self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, noise[i], skip, condition, embedding, use_reentrant=False)
            else:
                x = block(x, noise[i], skip, condition, embedding)
        return x


class DRGAN(nn.Module):
    """Two-stage generator from condition maps and grades to photographs.

    `coarse` (the paper's G_m) has an encoder of four strided convolutions, residual blocks and synthesis blocks; `fine`
    (G_l) adds detail at twice its size. With `stages=1`, `coarse` alone makes the image at its full size. Fully
    convolutional: the same weights run at any size that is a multiple of `stride`.

    Args:
        stages: 1 or 2.
        base_width: channels at full size; 2, 4 and 8 times as many at each halving. 64 is the paper's.
        residual_blocks: the paper's 7.
        num_classes: grades.
        condition_keys: channels of the condition map that are read, any of `CONDITION_KEYS`.
        grading_vectors: adaptive grading manipulation; `False` learns one scale and bias for all ("without AGM"), and
            the grade then has no influence.
        grading_dimension: size of the grader's features.
        grading_rank: see `GradingSpace`.
        mapping_width: of the mapping network.
        attention: `False` is without SCA.
        attention_side: `exact_side` of `SpatialChannelAttention`.
        channel_energy: `"sum"` as printed, or `"mean"`, see `SpatialChannelAttention`.
        norm: `"instance"` or `"batch"` (the paper's), in encoder and residual blocks.
        upsampling: `"resize"` or `"transposed"` (the paper's).
        checkpointing: compute the synthesis blocks again in the backward pass instead of storing them.

    Attributes:
        latent_dim: standard normal numbers that a grading vector is made of.
        active_stages: stages that are run; a training lowers it while only `coarse` learns.

    Shape:
        - condition: `(B, 9, H, W)` in [0, 1]; grade: `(B,)` integers, or `None` for the grade that the encoder
          predicts; latent: `(B, latent_dim)`, or `None` for the mean of the grade; noise: tensors of `noise_shapes`, or
          `None`, which draws them in training mode and takes zeros in evaluation mode.
        - output: `(B, 3, H, W)` in [-1, 1].

    Raises:
        ValueError: for other stages, options or keys, or a size that is no multiple of `stride` or below twice of it.

    Examples:
        >>> network = DRGAN(base_width=4, residual_blocks=1, grading_dimension=8, grading_rank=0).eval()
        >>> network(torch.rand(2, 9, 32, 48), torch.tensor([0, 4])).shape
        torch.Size([2, 3, 32, 48])
    """

    latent_distribution = "normal"
    channels: Tensor

    def __init__(
        self,
        *,
        stages: int = 1,
        base_width: int = 64,
        residual_blocks: int = 7,
        num_classes: int = 5,
        condition_keys: Sequence[str] = CONDITION_KEYS,
        grading_vectors: bool = True,
        grading_dimension: int = 128,
        grading_rank: int = 8,
        mapping_width: int = 128,
        attention: bool = True,
        attention_side: int = 80,
        channel_energy: str = "sum",
        norm: str = "instance",
        upsampling: str = "resize",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _check_options(stages, base_width, condition_keys, norm, upsampling)
        self.num_classes, self.stages, self.active_stages = num_classes, stages, stages
        self.condition_channels = len(CONDITION_KEYS)
        channels = torch.tensor([CONDITION_KEYS.index(key) for key in condition_keys])
        self.register_buffer("channels", channels, persistent=False)  # a list would be copied to the GPU at every call
        self.mapping: GradeMapping | None = None
        if grading_vectors:
            self.mapping = GradeMapping(
                dimension=grading_dimension, rank=grading_rank, num_classes=num_classes, width=mapping_width
            )
        self.latent_dim = self.mapping.space.numbers if self.mapping is not None else 0
        sca = {"exact_side": attention_side, "channel_energy": channel_energy} if attention else None
        self.coarse = CoarseStage(
            condition=len(condition_keys),
            width=base_width,
            residual_blocks=residual_blocks,
            num_classes=num_classes,
            embedding=mapping_width if grading_vectors else 0,
            attention=sca,
            norm=norm,
            upsampling=upsampling,
            checkpointing=checkpointing,
        )
        self.fine = FineStage(len(condition_keys), base_width, norm, upsampling) if stages == 2 else None
        self.apply(initialise)

    @property
    def stride(self) -> int:
        """Height and width are multiples of it."""
        return 16 * self.active_stages

    def noise_shapes(self, size: Sequence[int]) -> list[tuple[int, int, int]]:
        """Channels, height and width of the noise volumes for images of `size`, coarsest first."""
        height, width = size
        return self._noise_shapes(int(height), int(width))

    def _noise_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        shapes: list[tuple[int, int, int]] = []
        for i, block in enumerate(self.coarse.blocks):
            smaller = self.active_stages * (8 >> i)
            shapes.append((block.noise_channels, height // smaller, width // smaller))
        return shapes

    def draw(
        self, seeds: Sequence[int], *, size: Sequence[int], device: str | torch.device = "cpu"
    ) -> tuple[Tensor, list[Tensor]]:
        """Latents and noise volumes of one seed each, drawn on the CPU: none depends on others.

        They are `(B, latent_dim)`, and one `(B, channels, h, w)` for each of `noise_shapes`.

        Examples:
            >>> network = DRGAN(base_width=4, residual_blocks=1)
            >>> alone, together = (network.draw(seeds, size=(32, 32))[1] for seeds in ([2], [1, 2]))
            >>> all(torch.equal(one[0], two[1]) for one, two in zip(alone, together))
            True
        """
        rows = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(int(seed))
            shapes = [(self.latent_dim,), *self.noise_shapes(size)]
            rows.append([torch.randn(shape, generator=generator, dtype=torch.float32) for shape in shapes])
        latent, *noise = (torch.stack(parts).to(device) for parts in zip(*rows, strict=True))
        return latent, noise

    def predict_grade(self, condition: Tensor) -> Tensor:
        """Logits `(B, num_classes)` of the grade, from the masks alone."""
        return self.coarse.grade(self.coarse.encode(self._coarse_input(condition.index_select(1, self.channels)))[-1])

    def set_grading_space(self, state: dict[str, Tensor]) -> None:
        """Store the latent grading spaces: the state dict of a `GradingSpace`; without AGM nothing is stored."""
        if self.mapping is not None:
            self.mapping.space.load_state_dict(state)

    def forward(
        self,
        condition: Tensor,
        grade: Tensor | None = None,
        latent: Tensor | None = None,
        noise: list[Tensor] | None = None,
    ) -> Tensor:
        _check_size(condition, self.condition_channels, self.stride)
        condition = condition.index_select(1, self.channels)
        if noise is None:
            noise = self._default_noise(condition)
        small = self._coarse_input(condition)
        encoded = self.coarse.encode(small)
        features = self.coarse.synthesize(small, encoded, noise, self._embedding(encoded[-1], grade, latent))
        if self.fine is not None and self.active_stages == 2:
            return torch.tanh(self.fine(condition, features))
        return torch.tanh(self.coarse.to_rgb(features))

    def _default_noise(self, condition: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for channels, height, width in self._noise_shapes(condition.shape[2], condition.shape[3]):
            volume = torch.zeros([condition.shape[0], channels, height, width], device=condition.device)
            found.append(torch.randn_like(volume) if self.training else volume)
        return found

    def _coarse_input(self, condition: Tensor) -> Tensor:
        return condition if self.active_stages == 1 else nn.functional.avg_pool2d(condition, 2)

    def _embedding(self, encoded: Tensor, grade: Tensor | None, latent: Tensor | None) -> Tensor | None:
        found: Tensor | None = None
        if self.mapping is not None:
            if grade is None:
                grade = self.coarse.grade(encoded).argmax(1)
            if latent is None:
                latent = torch.zeros([encoded.shape[0], self.latent_dim], device=encoded.device)
            found = self.mapping(grade, latent)
        return found


def _check_options(stages: int, base_width: int, condition_keys: Sequence[str], norm: str, upsampling: str) -> None:
    if stages not in (1, 2) or base_width < 2:
        raise ValueError(f"stages={stages}, base_width={base_width}: want 1 or 2 stages and a width of at least 2")
    unknown = [key for key in condition_keys if key not in CONDITION_KEYS]
    if unknown or not condition_keys:
        raise ValueError(f"condition_keys={list(condition_keys)}: want at least one of {', '.join(CONDITION_KEYS)}")
    if norm not in NORMS or upsampling not in UPSAMPLINGS:
        raise ValueError(f"norm={norm!r}, upsampling={upsampling!r}: want one of {NORMS} and one of {UPSAMPLINGS}")


def _check_size(condition: Tensor, channels: int, stride: int) -> None:
    if condition.ndim != 4 or condition.shape[1] != channels:
        raise ValueError(f"condition: shape {list(condition.shape)} came, wanted (B, {channels}, H, W)")
    height, width = condition.shape[2], condition.shape[3]
    if height % stride or width % stride or min(height, width) < 2 * stride:  # normalisation needs several places
        raise ValueError(
            f"condition: size {[height, width]} came, height and width must be multiples of {stride}, at least "
            f"{2 * stride}"
        )


def initialise(module: nn.Module) -> None:
    """He initialisation of convolutions, biases zero."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.kaiming_normal_(module.weight, a=0.2, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
