"""Resampling with a fixed filter as products with banded matrices.

Zero insertion, padding or cropping, filtering and decimation of one axis (the "upfirdn" of Karras et al.,
arXiv:1912.04958) are together one constant matrix whose non-zero entries lie in a band. An image is resampled by
multiplying its rows and its columns with that matrix, block by block, so that only the band is touched. Products of
matrices run fast everywhere, are exact, and their adjoint is the product with the transposed matrix.

Inside, feature maps lie as `(H, maps, W)`: then either axis is resampled by plain 2-D products that write straight
into their place in the result.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

Banding = tuple[int, int, int, int]
"""`(up, down, offset, taps)`: entry (o, i) of a matrix is zero unless `0 <= offset + up * i - down * o < taps`."""

Block = tuple[int, int, int, int]
"""`(row, row end, column, column end)` of a part of a matrix."""

# Elements of the largest intermediate at a time: 10 MB of float32 stay in the cache of a CPU; a GPU wants few launches.
_CHUNK_ELEMENTS = {"cpu": 5 * 2**19}
_CHUNK_ELEMENTS_ELSEWHERE = 2**28
_BLOCK_ROWS = {"cpu": 16}
_BLOCK_ROWS_ELSEWHERE = 128


def resampling_matrix(
    size: int, taps: Tensor, *, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0)
) -> Tensor:
    """Matrix that inserts zeros, pads, convolves with `taps` and keeps every `down`-th sample of an axis.

    `(output length, size)`, float64, with the `Banding` `(up, down, padding[0], len(taps))`; negative padding crops.

    Examples:
        >>> resampling_matrix(3, torch.tensor([1.0, 1.0]), up=2, padding=(1, 0)).tolist()
        [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """
    length = (size * up + sum(padding) - len(taps)) // down + 1
    if length < 1:
        raise ValueError(f"an axis of {size} samples is too short for {len(taps)} taps with up={up}, padding={padding}")
    index = padding[0] + up * torch.arange(size) - down * torch.arange(length)[:, None]
    inside = (index >= 0) & (index < len(taps))
    # A convolution reads the filter backwards.
    values = taps.detach().cpu().double().flip(0)[index.clamp(0, len(taps) - 1)]
    return torch.where(inside, values, 0.0)


def separable_terms(kernel: Tensor, tolerance: float = 1e-6) -> tuple[Tensor, list[float]]:
    """A symmetric 2-D filter as a sum of weighted separable ones: `kernel = sum(w * outer(f, f))`, filters `(rank, K)`.

    Its eigenvectors and eigenvalues, but for a relative error (Frobenius) of `tolerance`; a filter `(K,)` is separable
    already.

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


def as_banding(numbers: Sequence[int]) -> Banding:
    """Four numbers as a `Banding`, for an operator can take lists only."""
    up, down, offset, taps = numbers
    return up, down, offset, taps


def transposed(banding: Banding) -> Banding:
    """Banding of the transposed matrix."""
    up, down, offset, taps = banding
    return down, up, taps - 1 - offset, taps


@lru_cache(maxsize=1024)
def band_blocks(rows: int, columns: int, banding: Banding, block: int) -> tuple[Block, ...]:
    """Blocks of `block` rows that together hold every entry that is not zero."""
    up, down, offset, taps = banding
    found = []
    for row in range(0, rows, block):
        end = min(row + block, rows)
        first = math.ceil((row * down - offset) / up)
        last = math.floor(((end - 1) * down + taps - 1 - offset) / up)
        start = min(max(first, 0), columns - 1)
        found.append((row, end, start, max(min(last + 1, columns), start + 1)))
    return tuple(found)


def chunk_rows(maps: int, elements: int, device: torch.device) -> int:
    """How many feature maps to work on at a time, each with `elements` in its largest form."""
    return min(maps, max(1, _CHUNK_ELEMENTS.get(device.type, _CHUNK_ELEMENTS_ELSEWHERE) // elements))


def _blocks(matrix: Tensor, banding: Banding) -> tuple[Block, ...]:
    block = _BLOCK_ROWS.get(matrix.device.type, _BLOCK_ROWS_ELSEWHERE)
    return band_blocks(matrix.shape[0], matrix.shape[1], banding, block)


def blocked_rows(
    matrix: Tensor, banding: Banding, x: Tensor, out: Tensor, alpha: float = 1.0, beta: float = 0.0
) -> Tensor:
    """`out = beta * out + alpha * matrix @ x` for 2-D tensors, touching only the band."""
    for r0, r1, c0, c1 in _blocks(matrix, banding):
        torch.addmm(out[r0:r1], matrix[r0:r1, c0:c1], x[c0:c1], beta=beta, alpha=alpha, out=out[r0:r1])
    return out


def blocked_columns(
    matrix: Tensor, banding: Banding, x: Tensor, out: Tensor, alpha: float = 1.0, beta: float = 0.0
) -> Tensor:
    """`out = beta * out + alpha * x @ matrix.T` for 2-D tensors, touching only the band."""
    for r0, r1, c0, c1 in _blocks(matrix, banding):
        torch.addmm(out[:, r0:r1], x[:, c0:c1], matrix[r0:r1, c0:c1].T, beta=beta, alpha=alpha, out=out[:, r0:r1])
    return out


class Buffers:
    """Memory that is taken anew for every chunk without being allocated anew."""

    def __init__(self, like: Tensor, dtype: torch.dtype) -> None:
        self._like, self._dtype, self._held = like, dtype, dict[str, Tensor]()

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor of that shape; what was in it under the same name is lost."""
        numel = math.prod(shape)
        if name not in self._held or self._held[name].numel() < numel:
            self._held[name] = torch.empty(numel, dtype=self._dtype, device=self._like.device)
        return self._held[name][:numel].view(shape)


def plain_resample(x: Tensor, matrix: Tensor, blocks: list[Block]) -> Tensor:
    """`matrix @ x @ matrix.T` for `(..., H, W)` by PyTorch's own operators: for TorchScript and `torch.func`."""
    rows: list[Tensor] = []
    columns: list[Tensor] = []
    for r0, r1, c0, c1 in blocks:
        columns.append(x[..., c0:c1] @ matrix[r0:r1, c0:c1].T)
    x = torch.cat(columns, dim=-1)
    for r0, r1, c0, c1 in blocks:
        rows.append(matrix[r0:r1, c0:c1] @ x[..., c0:c1, :])
    return torch.cat(rows, dim=-2)
