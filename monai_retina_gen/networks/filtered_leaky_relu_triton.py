"""The filtered leaky ReLU as one Triton kernel: the map between the two filters never leaves the chip.

The operator and its linear form (see `filtered_leaky_relu`) are, for a tile of the output, four products with blocks of
the banded matrices: two bring a window of the maps to the middle size, and after the nonlinearity two bring it back.
The adjoint is the same with the matrices' roles swapped: up by U of x for the mask, up by D^T of the incoming gradient,
down by U^T.

Tiles are 16 x 16 values of the output, the smallest that `tl.dot` takes: with StyleGAN3's filters they need 42 x 42
values of the middle form (84 x 84 for the adjoint of upsampling by 4) from a window of 27 x 27, which Triton wants as
powers of two. Compiled, the kernel takes 8 KB of shared memory in bfloat16 and 16 KB in float32 (32 and 64 KB for that
adjoint, where some registers spill).

The results are checked in Triton's interpreter, and the kernel compiles for compute capability 8.0 and 9.0. It was not
yet run on a GPU, so nothing is known of its speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.networks.banded_resampling import Banding, as_banding, transposed

try:
    import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
    import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ImportError:  # not a dependency; `filtered_leaky_relu_selection` imports this module where it wants the kernel
    triton = tl = None

_TILE = 16
_LARGEST_MIDDLE, _LARGEST_WINDOW = 128, 64
_jit: Any = triton.jit if triton else lambda function: function


def window_sizes(up: Banding, grow: Banding, shrink: Banding) -> tuple[int, int, int]:
    """Sides of the windows behind an output tile, as powers of two: in the middle, of x, and of the tangent.

    Of the matrices that upsample x, bring the tangent to the middle size, and that to the output's. `ValueError` if the
    filters are too long for the chip's memory.

    Examples:
        >>> window_sizes((2, 1, 9, 12), (2, 1, 9, 12), (1, 2, 0, 12))  # 42, 27 and 27 values
        (64, 32, 32)
    """
    middle = _reach(_TILE, shrink)
    sizes = [max(16, 1 << (size - 1).bit_length()) for size in (middle, _reach(middle, up), _reach(middle, grow))]
    if sizes[0] > _LARGEST_MIDDLE or max(sizes[1:]) > _LARGEST_WINDOW:
        raise ValueError(f"filters too long: windows {sizes} above {_LARGEST_MIDDLE} and {_LARGEST_WINDOW}")
    return sizes[0], sizes[1], sizes[2]


def _reach(rows: int, banding: Banding) -> int:
    # Columns that so many neighbouring rows of a banded matrix touch at most.
    up, down, _, taps = banding
    return ((rows - 1) * down + taps - 1) // up + 1


@_jit
def _first_column(row: tl.tensor, up: tl.constexpr, down: tl.constexpr, offset: tl.constexpr) -> tl.tensor:
    # Of the band in that row. Limited to 0 before the division, which rounds negative numbers the other way.
    return (tl.maximum(row * down - offset, 0) + up - 1) // up


@_jit
def _block(
    matrix: tl.tensor,
    row: tl.tensor,
    rows: tl.constexpr,
    height: tl.tensor,
    row_stride: tl.tensor,
    column: tl.tensor,
    columns: tl.constexpr,
    width: tl.tensor,
    column_stride: tl.tensor,
) -> tl.tensor:
    # Zero beyond the matrix, so that what the other factor holds there does not count.
    r, c = row + tl.arange(0, rows)[:, None], column + tl.arange(0, columns)[None, :]
    return tl.load(matrix + r * row_stride + c * column_stride, mask=(r < height) & (c < width), other=0.0)


@_jit
def _resampled(
    window: tl.tensor,
    columns: tl.constexpr,
    matrix: tl.tensor,
    row_h: tl.tensor,
    row_w: tl.tensor,
    rows: tl.constexpr,
    column_h: tl.tensor,
    column_w: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    row_stride: tl.tensor,
    column_stride: tl.tensor,
    precision: tl.constexpr,
) -> tl.tensor:
    # matrix @ window @ matrix.T with the blocks at those rows and columns. The width comes first: on the way up as in
    # the products that this stands in for, so that both round alike; on the way down to have the large one on the left.
    right = _block(matrix, column_w, columns, width, column_stride, row_w, rows, height, row_stride)
    half = tl.dot(window.to(right.dtype), right, input_precision=precision)
    left = _block(matrix, row_h, rows, height, row_stride, column_h, columns, width, column_stride)
    return tl.dot(left, half.to(left.dtype), input_precision=precision)


@_jit
def _kernel(
    x: tl.tensor,
    scale: tl.tensor,
    bias: tl.tensor,
    tangent: tl.tensor,
    out: tl.tensor,
    up: tl.tensor,
    grow: tl.tensor,
    shrink: tl.tensor,
    channels: tl.tensor,
    inner: tl.tensor,
    middle: tl.tensor,
    t_size: tl.tensor,
    outer: tl.tensor,
    grow_row: tl.tensor,
    grow_column: tl.tensor,
    shrink_row: tl.tensor,
    shrink_column: tl.tensor,
    slope: tl.tensor,
    clamp: tl.tensor,
    up_up: tl.constexpr,
    up_down: tl.constexpr,
    up_offset: tl.constexpr,
    grow_up: tl.constexpr,
    grow_down: tl.constexpr,
    grow_offset: tl.constexpr,
    shrink_up: tl.constexpr,
    shrink_down: tl.constexpr,
    shrink_offset: tl.constexpr,
    has_tangent: tl.constexpr,
    tile: tl.constexpr,
    mid_side: tl.constexpr,
    x_side: tl.constexpr,
    t_side: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    tiles = tl.cdiv(outer, tile)
    place = tl.program_id(0)
    n = (place // (tiles * tiles)).to(tl.int64)  # many maps of many values: more than 32 bits count
    row, column = place // tiles % tiles * tile, place % tiles * tile
    mid_h = _first_column(row, shrink_up, shrink_down, shrink_offset)
    mid_w = _first_column(column, shrink_up, shrink_down, shrink_offset)

    h, w = _first_column(mid_h, up_up, up_down, up_offset), _first_column(mid_w, up_up, up_down, up_offset)
    window = _block(x + n * inner * inner, h, x_side, inner, inner, w, x_side, inner, 1).to(tl.float32)
    window = window * tl.load(scale + n).to(tl.float32) + tl.load(bias + n % channels).to(tl.float32)
    form = _resampled(window, x_side, up, mid_h, mid_w, mid_side, h, w, middle, inner, inner, 1, precision)
    if has_tangent:
        h = _first_column(mid_h, grow_up, grow_down, grow_offset)
        w = _first_column(mid_w, grow_up, grow_down, grow_offset)
        start = tangent + n * t_size * t_size
        window = _block(start, h, t_side, t_size, t_size, w, t_side, t_size, 1)
        change = _resampled(
            window, t_side, grow, mid_h, mid_w, mid_side, h, w, middle, t_size, grow_row, grow_column, precision
        )
        change = tl.where(form > 0, change, change * slope)
        form = tl.where((form <= -clamp / slope) | (form >= clamp), 0.0, change)
    else:
        form = tl.where(form > 0, form, form * slope)
        form = tl.where(form > clamp, clamp, tl.where(form < -clamp, -clamp, form))  # which lets NaN through
    result = _resampled(
        form, mid_side, shrink, row, column, tile, mid_h, mid_w, outer, middle, shrink_row, shrink_column, precision
    )
    r, c = row + tl.arange(0, tile)[:, None], column + tl.arange(0, tile)[None, :]
    tl.store(out + n * outer * outer + r * outer + c, result, mask=(r < outer) & (c < outer))


def fused_filtered_leaky_relu(
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
    """The operator, or its linear form around x if a tangent is given, by the kernel; see `filtered_leaky_relu`.

    The tangent, what the linear form or its adjoint is applied to, has x's shape or the output's. Products are in the
    dtype of `up`, float32 or bfloat16, sums in float32. `ImportError` without Triton, `ValueError` for filters that are
    not separable, or too long; whatever Triton raises for a device that it does not serve.
    """
    if triton is None:
        raise ImportError("Triton is not installed")
    if list(weights) != [1.0]:
        raise ValueError(f"the kernel takes one separable filter of weight 1, got the weights {list(weights)}")
    up, down, maps = up.contiguous(), down[0].contiguous(), x.shape[0] * x.shape[1]
    band_up, band_down = as_banding(bands[:4]), as_banding(bands[4:])
    grow, shrink, band_grow, band_shrink = up, down, band_up, band_down
    if adjoint:
        grow, shrink, band_grow, band_shrink = down.T, up.T, transposed(band_down), transposed(band_up)
    windows = window_sizes(band_up, band_grow, band_shrink)
    out = up.new_empty(*x.shape[:2], shrink.shape[0], shrink.shape[0])
    x = x.contiguous()
    sizes = (x.shape[1], up.shape[1], up.shape[0], grow.shape[1], shrink.shape[0])
    with torch.cuda.device_of(x):
        _kernel[(maps * triton.cdiv(shrink.shape[0], _TILE) ** 2,)](
            *(x, scale.contiguous(), bias.contiguous(), x if tangent is None else tangent.contiguous(), out),
            *(up, grow, shrink),
            *sizes,
            *(*grow.stride(), *shrink.stride()),
            *(slope, clamp),
            *(*band_up[:3], *band_grow[:3], *band_shrink[:3]),
            *(tangent is not None, _TILE, *windows),
            "tf32x3",  # three products of the parts of a float32: its precision on tensor cores
            num_warps=4 if windows[0] <= 64 else 8,
            enable_fp_fusion=True,  # stated, for Triton's default changes
        )
    return out
