"""Residual discriminator of StyleGAN2 and StyleGAN3, unconditional or conditional on the grade by projection.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv:1912.04958, section 4.1 and
Appendix B; minibatch standard deviation: Karras et al., arXiv:1710.10196, section 3; projection: Miyato and Koyama,
arXiv:1802.05637.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from monai_retina_gen.networks.layers import (
    EqualizedConv2d,
    EqualizedLinear,
    LatentMapping,
    check_grade,
    scaled_leaky_relu,
    with_minibatch_deviation,
)

_BRANCH_GAIN = math.sqrt(0.5)


class _Blur(nn.Module):
    """The filter [1, 3, 3, 1] along rows and columns, keeping every `stride`-th sample."""

    taps: Tensor

    def __init__(self, stride: int, padding: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("taps", torch.outer(taps, taps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.taps.to(x.dtype).expand(channels, 1, 4, 4)
        return nn.functional.conv2d(x, kernel, stride=self.stride, padding=self.padding, groups=channels)


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the second on blurred maps with stride 2; skip: blurred, halved, 1x1."""

    def __init__(self, in_channels: int, out_channels: int, clamp: float | None, amp: bool) -> None:
        super().__init__()
        self.clamp, self.dtype = clamp, torch.bfloat16 if amp else None
        self.conv0 = EqualizedConv2d(in_channels=in_channels, out_channels=in_channels, kernel_size=3, padding=1)
        self.conv1 = EqualizedConv2d(in_channels=in_channels, out_channels=out_channels, kernel_size=3, stride=2)
        self.skip = EqualizedConv2d(in_channels=in_channels, out_channels=out_channels, kernel_size=1, bias=False)
        self.blur, self.halve = _Blur(stride=1, padding=2), _Blur(stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.dtype is None else x.to(self.dtype)
        skip = self.skip(self.halve(x)) * _BRANCH_GAIN
        x = scaled_leaky_relu(self.conv0(x), clamp=self.clamp)
        x = self.conv1(self.blur(x))
        x = scaled_leaky_relu(x, gain=_BRANCH_GAIN, clamp=self.clamp)
        limit = math.inf if self.clamp is None else self.clamp * _BRANCH_GAIN
        return x + skip.clamp(-limit, limit)


class StyleDiscriminator(nn.Module):
    """Scores how real an image is, for its grade.

    Args:
        image_size: side of the images, a power of two of at least 8.
        num_classes: number of grades; 0 makes it unconditional.
        channel_base: channels are `channel_base / resolution`.
        channel_max: upper limit of the channels.
        conv_clamp: limit of the absolute values of each layer's output; `None` for no limit.
        group_size: samples over which the minibatch standard deviation is taken, see `with_minibatch_deviation`.
        mapping_layers: fully connected layers of the grade's mapping network.
        amp: whether the four highest resolutions compute in bfloat16.

    Shape:
        - image: `(B, 3, image_size, image_size)`, -1..1; grade: `(B,)` integers, `num_classes` for "unknown"; `None` if
          all are unknown or `num_classes` is 0.
        - output: `(B,)` logits, float32.

    Raises:
        ValueError: for another size of image, or a grade that there is not.

    Examples:
        >>> network = StyleDiscriminator(image_size=16, num_classes=5, channel_base=128, channel_max=8)
        >>> network(torch.rand(4, 3, 16, 16) * 2 - 1, torch.tensor([0, 1, 2, 4])).shape
        torch.Size([4])
    """

    def __init__(
        self,
        *,
        image_size: int = 256,
        num_classes: int = 0,
        channel_base: int = 32768,
        channel_max: int = 512,
        conv_clamp: float | None = 256.0,
        group_size: int = 4,
        mapping_layers: int = 8,
        amp: bool = False,
    ) -> None:
        super().__init__()
        if image_size < 8 or image_size & (image_size - 1):
            raise ValueError(f"image_size must be a power of two of at least 8, got {image_size}")
        self.image_size, self.num_classes = image_size, num_classes
        self.clamp, self.group_size = conv_clamp, group_size
        sizes = [image_size >> i for i in range(int(math.log2(image_size)) - 1)]  # down to 4
        channels = [min(channel_base // size, channel_max) for size in sizes]
        self.from_rgb = EqualizedConv2d(in_channels=3, out_channels=channels[0], kernel_size=1)
        self.blocks = nn.ModuleList(
            _ResidualBlock(channels[i], channels[i + 1], conv_clamp, amp and i < 4) for i in range(len(sizes) - 1)
        )
        last = channels[-1]
        self.conv = EqualizedConv2d(in_channels=last + 1, out_channels=last, kernel_size=3, padding=1)
        self.hidden = EqualizedLinear(in_features=last * 16, out_features=last)
        self.out = EqualizedLinear(in_features=last, out_features=last if num_classes else 1)
        self.grade_mapping = (
            LatentMapping(z_dim=0, w_dim=last, num_classes=num_classes, num_layers=mapping_layers)
            if num_classes
            else None
        )

    def forward(self, image: Tensor, grade: Tensor | None = None) -> Tensor:
        wanted = (3, self.image_size, self.image_size)
        if image.ndim != 4 or tuple(image.shape[1:]) != wanted:
            raise ValueError(f"image must be (B, 3, {wanted[1]}, {wanted[2]}), got {tuple(image.shape)}")
        check_grade(grade, self.num_classes, image.shape[0])
        x = scaled_leaky_relu(self.from_rgb(image), clamp=self.clamp)
        for block in self.blocks:
            x = block(x)
        x = with_minibatch_deviation(x.to(self.conv.weight.dtype), self.group_size)
        x = scaled_leaky_relu(self.conv(x), clamp=self.clamp)
        x = self.out(scaled_leaky_relu(self.hidden(x.flatten(1))))
        if self.grade_mapping is None:
            return x.squeeze(1)
        if grade is None:
            grade = torch.full((x.shape[0],), self.num_classes, device=x.device)
        return (x * self.grade_mapping(None, grade)).sum(1) / math.sqrt(x.shape[1])

    def set_amp(self, amp: bool) -> StyleDiscriminator:
        """Whether the four highest resolutions compute in bfloat16; returns the network itself."""
        for index, block in enumerate(self.blocks):
            block.dtype = torch.bfloat16 if amp and index < 4 else None  # type: ignore[assignment]
        return self

    def aligned(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state of another resolution with its blocks named as here: they are counted from the image down."""
        found = [int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.", name))]
        shift = len(self.blocks) - 1 - max(found, default=len(self.blocks) - 1)

        def rename(match: re.Match[str]) -> str:
            return f"blocks.{int(match[1]) + shift}."

        # What lies above this network's resolution gets a negative number, and so fits nowhere.
        return {re.sub(r"^blocks\.(\d+)\.", rename, name): value for name, value in state.items()}
