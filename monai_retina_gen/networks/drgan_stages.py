"""The two stages of DR-GAN's generator.

Source: Zhou et al. (DR-GAN), section III.A and Fig. 1; the second stage after pix2pixHD (Wang et al. 2018,
arXiv:1711.11585).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from monai_retina_gen.networks.drgan_attention import SpatialChannelAttention
from monai_retina_gen.networks.drgan_blocks import ResidualBlock, SynthesisBlock, norm_layer, up_layer

__all__ = ["CoarseStage", "FineStage"]

REDUCTIONS = (8, 16, 32)
"""The paper's d of the attention at an eighth, a quarter and half of the size."""


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
        found = []
        for layer in self.encoder:
            condition = layer(condition)
            found.append(condition)
        return found

    def grade(self, encoded: Tensor) -> Tensor:
        """Logits of the grade: one more convolution and global average pooling of the last encoding."""
        logits: Tensor = self.grade_head(torch.relu(self.grade_conv(encoded)).mean((2, 3)))
        return logits

    def synthesize(
        self, condition: Tensor, encoded: Sequence[Tensor], noise: Sequence[Tensor], embedding: Tensor | None
    ) -> Tensor:
        """The last features, at full size."""
        x: Tensor = self.residual(encoded[-1])
        skips = [*encoded[2::-1], None]
        for block, volume, skip in zip(self.blocks, noise, skips, strict=True):
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, volume, skip, condition, embedding, use_reentrant=False)
            else:
                x = block(x, volume, skip, condition, embedding)
        return x


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
