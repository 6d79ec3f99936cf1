"""Leaky ReLU between an upsampling and a downsampling filter: the alias-free nonlinearity of StyleGAN3.

Source: Karras et al., "Alias-Free Generative Adversarial Networks", arXiv:2106.12423, section 3.1. The maps are
upsampled, so that the new frequencies that the nonlinearity makes have room, pass the nonlinearity there, and are
low-pass filtered and downsampled. Written naively, tensors 4 to 16 times the size of the maps are stored for the
backward pass. Here the large form lives for a few maps at a time only: forward and backward make it from the input,
which is all that is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_retina_gen.networks.banded_resampling import band_blocks, plain_resample, resampling_matrix
from monai_retina_gen.networks.filtered_leaky_relu_operator import as_banding, filtered_leaky_relu

__all__ = ["FilteredLeakyReLU", "separable_terms"]


def separable_terms(kernel: Tensor, tolerance: float = 1e-6) -> tuple[Tensor, list[float]]:
    """A symmetric 2-D filter as a sum of weighted separable ones: its eigenvectors and eigenvalues.

    Args:
        kernel: `(K, K)`, symmetric; or `(K,)`, a filter that is separable already.
        tolerance: relative error (Frobenius) that may be left out.

    Returns:
        Filters `(rank, K)` in float64 and their weights: `kernel = sum(w * outer(f, f))`.

    Raises:
        ValueError: if the filter is not symmetric.

    Examples:
        >>> filters, weights = separable_terms(torch.ones(4, 4))
        >>> filters.shape, [round(w, 6) for w in weights]
        (torch.Size([1, 4]), [4.0])
    """
    kernel = kernel.double()
    if kernel.ndim == 1:
        return kernel[None], [1.0]
    if not torch.allclose(kernel, kernel.T, atol=1e-7 * float(kernel.abs().max())):
        raise ValueError(f"a 2-D filter must be symmetric to be split into separable ones, got {tuple(kernel.shape)}")
    values, vectors = torch.linalg.eigh(kernel)
    order = values.abs().argsort(descending=True)
    left_out = values[order].square().flip(0).cumsum(0).flip(0).sqrt()
    kept = order[left_out > tolerance * left_out[0]]
    return vectors[:, kept].T.contiguous(), values[kept].tolist()


class FilteredLeakyReLU(nn.Module):
    """Upsample, leaky ReLU, clamp, downsample: `down(clamp(gain * lrelu(up(x * scale + bias))))`.

    Differentiable twice, on any device and in any floating dtype. The filters are constants. Under `torch.jit.trace`
    and `torch.export`, or with `plain = True` (for forward-mode differentiation and `torch.func`), the same is
    computed by PyTorch's own operators. On a GPU with Triton, separable filters in float32 or bfloat16 take a Triton
    kernel if `MRG_TRITON=1` in the environment asks for it and it passes a check against the products of matrices.

    Args:
        input_size: side of the square input maps.
        up_filter: symmetric low-pass filter `(K,)` for both axes, of sum 1.
        down_filter: symmetric filter `(K,)` for both axes, or `(K, K)`, of sum 1.
        up: upsampling factor.
        down: downsampling factor.
        padding: zeros `(before, after)` each axis of the grid with zeros inserted; negative numbers crop.
        slope: of the leaky ReLU below zero.
        gain: factor after the leaky ReLU.
        clamp: limit of the absolute value after the gain; `None` for no limit.

    Shape:
        - x: `(B, C, input_size, input_size)`; scale: `(B, C)`, bias: `(C,)`, both of the dtype to compute in.
        - output: `(B, C, output_size, output_size)` of `scale`'s dtype.

    Raises:
        ValueError: for maps of another size.

    Examples:
        >>> act = FilteredLeakyReLU(input_size=8, up_filter=[0.5, 0.5], down_filter=[0.5, 0.5], padding=(1, 0))
        >>> act(torch.randn(2, 3, 8, 8), torch.ones(2, 3), torch.zeros(3)).shape
        torch.Size([2, 3, 8, 8])
    """

    up_matrix: Tensor
    down_matrix: Tensor

    def __init__(
        self,
        *,
        input_size: int,
        up_filter: Sequence[float] | Tensor,
        down_filter: Sequence[float] | Sequence[Sequence[float]] | Tensor,
        up: int = 2,
        down: int = 2,
        padding: tuple[int, int] = (0, 0),
        slope: float = 0.2,
        gain: float = math.sqrt(2.0),
        clamp: float | None = 256.0,
    ) -> None:
        super().__init__()
        up_taps = torch.as_tensor(up_filter, dtype=torch.float64)
        down_taps, self.weights = separable_terms(torch.as_tensor(down_filter, dtype=torch.float64))
        # Leaky ReLU commutes with positive factors: zero insertion's loss and the gain go into the first filter.
        up_matrix = resampling_matrix(input_size, up_taps * up * math.sqrt(gain), up=up, padding=padding)
        downs = [resampling_matrix(len(up_matrix), taps, down=down) for taps in down_taps]
        self.input_size, self.output_size = input_size, len(downs[0])
        self.slope, self.clamp = slope, math.inf if clamp is None else clamp
        self.bands = [up, 1, padding[0], len(up_taps), 1, down, 0, down_taps.shape[1]]
        self.plain, block = False, 64
        self._up_blocks = band_blocks(len(up_matrix), input_size, as_banding(self.bands[:4]), block)
        self._down_blocks = band_blocks(self.output_size, len(up_matrix), as_banding(self.bands[4:]), block)
        self.register_buffer("up_matrix", up_matrix.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("down_matrix", torch.stack(downs).to(torch.get_default_dtype()), persistent=False)

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[-1] != self.input_size or x.shape[-2] != self.input_size:
            raise ValueError(f"x must be (B, C, {self.input_size}, {self.input_size}), got {tuple(x.shape)}")
        up, down = self.up_matrix.to(scale.dtype), self.down_matrix.to(scale.dtype)
        if self.plain or torch.jit.is_tracing() or torch.compiler.is_exporting():
            return self._plain(x, scale, bias, up, down)
        return filtered_leaky_relu(x, scale, bias, up, down, self.weights, self.bands, self.slope, self.clamp)

    def _plain(self, x: Tensor, scale: Tensor, bias: Tensor, up: Tensor, down: Tensor) -> Tensor:
        x = plain_resample(x * scale[:, :, None, None] + bias[:, None, None], up, self._up_blocks)
        x = nn.functional.leaky_relu(x, self.slope).clamp(-self.clamp, self.clamp)
        terms = [plain_resample(x, down[i], self._down_blocks) * weight for i, weight in enumerate(self.weights)]
        return torch.stack(terms).sum(0)
