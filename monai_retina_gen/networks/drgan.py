"""Generator of DR-GAN: fundus photographs from masks of vessels, disc and lesions, and a grade.

Source: Zhou et al., "DR-GAN: Conditional Generative Adversarial Network for Fine-Grained Lesion Synthesis on Diabetic
Retinopathy Images", section III, Figs. 1 and 2; the coarse-to-fine stages after pix2pixHD (Wang et al. 2018,
arXiv:1711.11585).

What differs from the paper, and why:

- The synthesis block at full size also reads the masks, without attention: at 128 or 256 px a microaneurysm is a pixel,
  which strided convolutions lose.
- Encoder and residual blocks use instance normalisation by default. The paper's batches are of 16; in ours, batch
  statistics of sparse lesion masks change from batch to batch, and the averages of evaluation fit none.
- Enlarging is bilinear with a convolution by default; transposed convolutions leave checkerboards.
- Attention: see `SpatialChannelAttention`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from monai_retina_gen.data.condition_map import CONDITION_KEYS
from monai_retina_gen.networks.drgan_blocks import (
    NORMS,
    UPSAMPLINGS,
    FineStage,
    GradeMapping,
    ResidualBlock,
    SpatialChannelAttention,
    SynthesisBlock,
    norm_layer,
)

__all__ = ["DRGAN", "CoarseStage"]

REDUCTIONS = (8, 16, 32)
"""The paper's d of the attention at an eighth, a quarter and half of the size."""


class DRGAN(nn.Module):
    """Two-stage generator from condition maps and grades to photographs.

    `coarse` (the paper's G_m) has an encoder of four strided convolutions, residual blocks and synthesis blocks; `fine`
    (G_l) adds detail at twice its size. With `stages=1`, `coarse` alone makes the image at its full size. Fully
    convolutional: the same weights run at any size that is a multiple of `stride`.

    Args:
        stages: 1 or 2.
        base_width: channels at full size; 2, 4 and 8 times as many at each halving. 64 is the paper's: 512, 256 and 128
            channels at an eighth, a quarter and half of the size.
        residual_blocks: the paper's 7.
        num_classes: grades.
        condition_keys: channels of the condition map that are read, any of `CONDITION_KEYS`; the others are ignored
            (the paper's "without lesion masks").
        grading_vectors: adaptive grading manipulation; `False` learns one scale and bias for all ("without AGM"), and
            the grade then has no influence.
        grading_dimension: size of the grader's features.
        grading_rank: see `GradingSpace`.
        mapping_width: of the mapping network.
        attention: `False` is without SCA.
        attention_side: see `SpatialChannelAttention`, as `channel_energy`.
        channel_energy: `"sum"` as printed, or `"mean"`.
        norm: `"instance"` or `"batch"` (the paper's), in encoder and residual blocks.
        upsampling: `"resize"` or `"transposed"` (the paper's).
        checkpointing: compute the synthesis blocks again in the backward pass instead of storing them: less memory,
            about a fifth more time (docs/benchmarks.md).

    Attributes:
        stride: images are multiples of it.
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
        self.apply(_initialise)

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
        """Latents and noise volumes, drawn on the CPU from one seed each: a sample depends on its seed alone.

        Args:
            seeds: `B` integers.
            size: height and width of the images.
            device: where they are wanted.

        Returns:
            `(B, latent_dim)`, and one `(B, channels, h, w)` for each of `noise_shapes`.

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


def _initialise(module: nn.Module) -> None:
    """He initialisation of convolutions, biases zero."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.kaiming_normal_(module.weight, a=0.2, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


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
