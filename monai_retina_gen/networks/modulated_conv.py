"""Convolution whose weights are scaled by a style: modulated and demodulated convolution.

Source: Karras et al., arXiv:1912.04958, section 2.2, with the normalised weights and styles of arXiv:2106.12423.
Scaling a kernel's input channels is scaling the input, and demodulation is a factor for each output channel: so one
kernel serves the whole batch, and no kernel for each sample is ever made.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["demodulation", "modulated_conv2d"]

_PART_ELEMENTS = 2**25


def demodulation(weight: Tensor, style: Tensor, eps: float = 1e-8) -> tuple[Tensor, Tensor]:
    """Normalised styles and the factor of each output channel that brings its expected variance to one.

    The effective kernel of the paper, `W^ s^ d` with `W^` of mean square 1 an output channel, is
    `weight * style_out * factor`.

    Args:
        weight: `(O, I, K, K)`.
        style: `(B, I)`.
        eps: keeps the factor finite.

    Returns:
        Styles of mean square 1 a sample, `(B, I)`, and factors `(B, O)`.

    Examples:
        >>> weight, style = torch.randn(4, 6, 3, 3), torch.rand(2, 6) + 0.5
        >>> style, factor = demodulation(weight, style)
        >>> (weight * style[:, None, :, None, None]).square().sum((2, 3, 4)).sqrt().mul(factor).round(decimals=4)[0]
        tensor([1., 1., 1., 1.])
    """
    style = style * style.square().mean(1, keepdim=True).rsqrt()
    power = weight.square().sum((2, 3))
    scale = (power.sum(1) / weight[0].numel()).rsqrt()
    return style, scale * (style.square() @ (power * scale.square()[:, None]).T + eps).rsqrt()


def modulated_conv2d(x: Tensor, weight: Tensor, style: Tensor, *, padding: int = 0, amp: bool = False) -> Tensor:
    """Convolution of `x` scaled by `style`; multiply the result by `demodulation`'s factor.

    Without gradients a large batch is convolved in parts, which bounds the memory.

    Args:
        x: `(B, I, H, W)`.
        weight: `(O, I, K, K)`.
        style: `(B, I)`.
        padding: zeros around the maps.
        amp: convolve in bfloat16.

    Returns:
        `(B, O, H', W')`, in bfloat16 if `amp`.

    Examples:
        >>> modulated_conv2d(torch.rand(2, 6, 8, 8), torch.randn(4, 6, 3, 3), torch.rand(2, 6), padding=2).shape
        torch.Size([2, 4, 10, 10])
    """
    dtype = torch.bfloat16 if amp else x.dtype
    weight, scale = weight.to(dtype), style[:, :, None, None].to(x.dtype)
    if torch.is_grad_enabled() or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return nn.functional.conv2d((x * scale).to(dtype), weight, padding=padding)
    step = max(1, _PART_ELEMENTS // x[0].numel())
    parts = zip(x.split(step), scale.split(step), strict=True)
    return torch.cat([nn.functional.conv2d((part * s).to(dtype), weight, padding=padding) for part, s in parts])
