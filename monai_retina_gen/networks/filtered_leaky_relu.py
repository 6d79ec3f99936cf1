"""Leaky ReLU between an upsampling and a downsampling filter: the alias-free nonlinearity of StyleGAN3.

Source: Karras et al., "Alias-Free Generative Adversarial Networks", arXiv:2106.12423, section 3.1. The maps are
upsampled, so that the new frequencies that the nonlinearity makes have room, pass the nonlinearity there, and are
low-pass filtered and downsampled. Written naively, tensors 4 to 16 times the size of the maps are stored for the
backward pass. Here the large form lives for a few maps at a time only: forward and backward make it from the input,
which is all that is kept.

`y = D act(U (x * scale + bias))` with the resamplings U and D on both axes. Around any x this is linear up to a
constant: `D M U` with a mask M, and its adjoint `U^T M D^T` is the gradient. The derivative of the gradient with
respect to the incoming gradient is `D M U` again, and the mask is piecewise constant: so two operators serve every
order of differentiation, and each makes the mask anew from x instead of storing it. Both are computed by products of
matrices, or on a GPU by one Triton kernel (see `filtered_leaky_relu_selection`).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.networks.banded_resampling import (
    Buffers,
    as_banding,
    band_blocks,
    blocked_columns,
    blocked_rows,
    chunk_rows,
    plain_resample,
    resampling_matrix,
    separable_terms,
    transposed,
)
from monai_retina_gen.networks.filtered_leaky_relu_selection import fused_or_none


class FilteredLeakyReLU(nn.Module):
    """Upsample, leaky ReLU, clamp, downsample: `down(clamp(gain * lrelu(up(x * scale + bias))))`.

    Differentiable twice, on any device and in any floating dtype. The filters are constants. In TorchScript and
    `torch.export`, or with `plain = True` (for forward-mode differentiation and `torch.func`), the same is computed by
    PyTorch's own operators.

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
        self._up_blocks = list(band_blocks(len(up_matrix), input_size, as_banding(self.bands[:4]), block))
        self._down_blocks = list(band_blocks(self.output_size, len(up_matrix), as_banding(self.bands[4:]), block))
        self.register_buffer("up_matrix", up_matrix.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("down_matrix", torch.stack(downs).to(torch.get_default_dtype()), persistent=False)

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[-1] != self.input_size or x.shape[-2] != self.input_size:
            raise ValueError(f"x must be (B, C, {self.input_size}, {self.input_size}), got {list(x.shape)}")
        up, down = self.up_matrix.to(scale.dtype), self.down_matrix.to(scale.dtype)
        if not torch.jit.is_scripting() and self._by_operator():
            return filtered_leaky_relu(x, scale, bias, up, down, self.weights, self.bands, self.slope, self.clamp)
        return self._plain(x, scale, bias, up, down)

    @torch.jit.unused
    def _by_operator(self) -> bool:
        return not (self.plain or torch.jit.is_tracing() or torch.compiler.is_exporting())

    def _plain(self, x: Tensor, scale: Tensor, bias: Tensor, up: Tensor, down: Tensor) -> Tensor:
        x = plain_resample(x * scale[:, :, None, None] + bias[:, None, None], up, self._up_blocks)
        x = nn.functional.leaky_relu(x, self.slope).clamp(-self.clamp, self.clamp)
        terms: list[Tensor] = []
        for i, weight in enumerate(self.weights):
            terms.append(plain_resample(x, down[i], self._down_blocks) * weight)
        return torch.stack(terms).sum(0)


class _Operator:
    """The two resamplings on chunks of maps that lie as `(H, maps, W)`; `bands` is up's and down's `Banding`."""

    def __init__(self, x: Tensor, up: Tensor, down: Tensor, weights: Sequence[float], bands: Sequence[int]) -> None:
        self.up, self.down, self.weights = up, down, weights
        self.band_up, self.band_down = as_banding(bands[:4]), as_banding(bands[4:])
        self.middle, self.inner, self.outer = up.shape[0], up.shape[1], down.shape[1]
        self.maps = x.shape[0] * x.shape[1]
        self.step = chunk_rows(self.maps, self.middle**2, x.device)
        self.buffers = Buffers(x, up.dtype)

    def chunks(self) -> Iterator[slice]:
        return (slice(start, min(start + self.step, self.maps)) for start in range(0, self.maps, self.step))

    def laid_out(self, name: str, maps: Tensor) -> Tensor:
        """Maps `(n, H, W)` as `(H, n, W)` in this operator's dtype."""
        return self.buffers.take(name, maps.shape[1], maps.shape[0], maps.shape[2]).copy_(maps.transpose(0, 1))

    def grow(self, name: str, x: Tensor, adjoint: bool) -> Tensor:
        """To the middle size: upsampling, or the adjoint of the downsampling."""
        matrices, weights = (self.down.mT, self.weights) if adjoint else (self.up[None], [1.0])
        band, (height, count, width) = transposed(self.band_down) if adjoint else self.band_up, x.shape
        middle = self.buffers.take(name, self.middle, count * self.middle)
        half = self.buffers.take("half", height * count, self.middle)
        for term, (matrix, weight) in enumerate(zip(matrices, weights, strict=True)):
            blocked_columns(matrix, band, x.view(height * count, width), half, alpha=weight)
            blocked_rows(matrix, band, half.view(height, count * self.middle), middle, beta=float(term > 0))
        return middle

    def shrink(self, name: str, middle: Tensor, adjoint: bool) -> Tensor:
        """From the middle size: downsampling, or the adjoint of the upsampling; gives `(H, n, W)`."""
        matrices, weights = (self.up.mT[None], [1.0]) if adjoint else (self.down, self.weights)
        band, size = (transposed(self.band_up), self.inner) if adjoint else (self.band_down, self.outer)
        count = middle.shape[1] // self.middle
        half = self.buffers.take("half", size, count * self.middle)
        out = self.buffers.take(name, size * count, size)
        for term, (matrix, weight) in enumerate(zip(matrices, weights, strict=True)):
            blocked_rows(matrix, band, middle, half, alpha=weight)
            blocked_columns(matrix, band, half.view(size * count, self.middle), out, beta=float(term > 0))
        return out.view(size, count, size)

    def biased(self, x: Tensor, scale: Tensor, bias: Tensor, part: slice) -> Tensor:
        """`x * scale + bias` of a chunk, laid out."""
        maps = x.reshape(self.maps, self.inner, self.inner)[part].transpose(0, 1)
        out = self.buffers.take("biased", maps.shape[0], maps.shape[1], maps.shape[2])
        torch.mul(maps, scale.reshape(1, -1, 1)[:, part], out=out)
        return out.add_(bias.repeat(x.shape[0]).view(1, -1, 1)[:, part])


def _by_products(
    tangent: Tensor | None,
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    up: Tensor,
    down: Tensor,
    weights: Sequence[float],
    bands: Sequence[int],
    slope: float,
    clamp: float,
    adjoint: bool,
) -> Tensor:
    # The operator, or with a tangent its linear form around x (or the adjoint of that).
    operator = _Operator(x, up, down, weights, bands)
    size = operator.inner if adjoint else operator.outer
    out = up.new_empty(operator.maps, size, size)
    for part in operator.chunks():
        middle = operator.grow("middle", operator.biased(x, scale, bias, part), adjoint=False)
        if tangent is None:
            nn.functional.leaky_relu_(middle, slope).clamp_(-clamp, clamp)
        else:
            maps = tangent.reshape(operator.maps, *tangent.shape[-2:])[part]
            change = operator.grow("change", operator.laid_out("tangent", maps), adjoint)
            torch.ops.aten.leaky_relu_backward.grad_input(change, middle, slope, False, grad_input=change)
            torch.ops.aten.hardtanh_backward.grad_input(change, middle, -clamp / slope, clamp, grad_input=change)
            middle = change
        out[part] = operator.shrink("out", middle, adjoint).transpose(0, 1)
    return out.view(*x.shape[:2], size, size)


def _computed(*arguments: Any) -> Tensor:
    out = fused_or_none(_by_products, *arguments)
    return _by_products(*arguments) if out is None else out


_ARGUMENTS = (
    "Tensor x, Tensor scale, Tensor bias, Tensor up, Tensor down, "
    "float[] weights, int[] bands, float slope, float clamp"
)


@torch.library.custom_op("monai_retina_gen::filtered_leaky_relu", mutates_args=(), schema=f"({_ARGUMENTS}) -> Tensor")
def filtered_leaky_relu(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    up: Tensor,
    down: Tensor,
    weights: Sequence[float],
    bands: Sequence[int],
    slope: float,
    clamp: float,
) -> Tensor:
    """Resample, leaky ReLU, clamp, resample `(B, C, H, H)`; differentiable twice in `x`, `scale` and `bias`.

    `up` `(M, H)` is the first resampling of an axis, `down` `(rank, H', M)` the second one, as a sum of separable terms
    with `weights`; `bands` are the `Banding` of both, eight numbers.
    """
    return _computed(None, x, scale, bias, up, down, weights, bands, slope, clamp, False)


@filtered_leaky_relu.register_fake
def _(x: Tensor, scale: Tensor, bias: Tensor, up: Tensor, down: Tensor, *rest: object) -> Tensor:
    return up.new_empty(*x.shape[:2], down.shape[1], down.shape[1])


@torch.library.custom_op(
    "monai_retina_gen::filtered_leaky_relu_tangent",
    mutates_args=(),
    schema=f"(Tensor tangent, {_ARGUMENTS}, bool adjoint) -> Tensor",
)
def _tangent(*arguments: Any) -> Tensor:
    # The linear map that the operator is around x, or its adjoint; piecewise constant in x.
    return _computed(*arguments)


@_tangent.register_fake
def _(tangent: Tensor, x: Tensor, scale: Tensor, bias: Tensor, up: Tensor, down: Tensor, *rest: object) -> Tensor:
    size = up.shape[1] if rest[-1] else down.shape[1]
    return up.new_empty(*x.shape[:2], size, size)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:5])
    ctx.rest = inputs[5:]


def _forward_backward(ctx, grad):  # type: ignore[no-untyped-def]
    x, scale, bias, up, down = ctx.saved_tensors
    change = _tangent(grad, x, scale, bias, up, down, *ctx.rest, True)
    grad_x = (change * scale[:, :, None, None]).to(x.dtype) if ctx.needs_input_grad[0] else None
    grad_scale = (change * x).sum((2, 3)).to(scale.dtype) if ctx.needs_input_grad[1] else None
    grad_bias = change.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
    return (grad_x, grad_scale, grad_bias, *[None] * 6)


def _keep_tangent(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[1:6])
    ctx.rest, ctx.adjoint = inputs[6:-1], inputs[-1]


def _tangent_backward(ctx, grad):  # type: ignore[no-untyped-def]
    return (_tangent(grad, *ctx.saved_tensors, *ctx.rest, not ctx.adjoint), *[None] * 10)


filtered_leaky_relu.register_autograd(_forward_backward, setup_context=_keep)
_tangent.register_autograd(_tangent_backward, setup_context=_keep_tangent)
