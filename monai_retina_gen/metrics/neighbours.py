"""Nearest neighbours among features in blocks of bounded memory, for manifold and copying metrics."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["distance_blocks", "nearest_distance", "neighbour_radii"]

BLOCK_ELEMENTS = 2**24  # 128 MiB of float64 a block
ROUNDING = 1e-13


def distance_blocks(queries: Tensor, references: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Euclidean distances of all queries to all references, a block of query rows at a time.

    Args:
        queries: (n, d) float64 features.
        references: (m, d) float64 features.

    Yields:
        The rows of the block as a slice, and its (rows, m) distances. What the matrix product cannot tell
        from zero is zero, so that an exact copy has distance 0.
    """
    # Distances do not change by a shift; near the origin they lose less to cancellation. A row of the data
    # (not its mean) as origin keeps identical rows at exactly zero.
    origin = references[0]
    references = references - origin
    norms = references.square().sum(dim=1)
    rows = max(1, BLOCK_ELEMENTS // len(references))
    for start in range(0, len(queries), rows):
        block = queries[start : start + rows] - origin
        scale = block.square().sum(dim=1)[:, None] + norms
        squared = torch.addmm(scale, block, references.T, alpha=-2)
        squared.masked_fill_(squared <= ROUNDING * scale, 0.0)
        yield slice(start, start + len(block)), squared.sqrt_()


def neighbour_radii(features: Tensor, k: int) -> Tensor:
    """Distance of each row to its k-th nearest other row, (n,).

    Raises:
        ValueError: if k is not in [1, n - 1].

    Examples:
        >>> neighbour_radii(torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64), k=1).tolist()
        [1.0, 1.0, 2.0]
    """
    if not 1 <= k < len(features):
        raise ValueError(f"k = {k} with n = {len(features)} features: pass 1 <= k <= n - 1, or more images")
    radii = features.new_empty(len(features))
    for rows, distances in distance_blocks(features, features):
        index = torch.arange(rows.start, rows.stop, device=features.device)
        distances[index - rows.start, index] = float("inf")  # not its own neighbour
        radii[rows] = distances.kthvalue(k, dim=1).values
    return radii


def nearest_distance(queries: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to, and index of, the nearest reference of each query: (n,) and (n,)."""
    nearest = [distances.min(dim=1) for _, distances in distance_blocks(queries, references)]
    return torch.cat([block.values for block in nearest]), torch.cat([block.indices for block in nearest])
