"""Several processes without a wrapper around the networks: the same weights at the start, then averaged gradients.

`DistributedDataParallel` expects one backward pass a step through all parameters. Critics, penalties and generators
take several partial ones; averaging the gradients by hand before the optimiser covers them all.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> tuple[int, int]:
    """`(rank, number of processes)`; `(0, 1)` where none were started together."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


@torch.no_grad()
def broadcast_state(*networks: nn.Module) -> None:
    """Give all processes the parameters and buffers of the first one."""
    if world()[1] == 1:
        return
    for network in networks:
        for tensor in [*network.parameters(), *network.buffers()]:
            dist.broadcast(tensor.data, src=0)


@torch.no_grad()
def average_buffers(network: nn.Module) -> None:
    """Average the buffers with fractions over all processes: a running mean is then that of the joined batch."""
    buffers = [b for b in network.buffers() if b.is_floating_point()]
    if world()[1] == 1 or not buffers:
        return
    flat = torch.cat([b.flatten() for b in buffers])
    dist.all_reduce(flat)
    flat /= world()[1]
    for buffer, part in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))


@torch.no_grad()
def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Average gradients over all processes, in one message; parameters without a gradient anywhere keep none."""
    count = world()[1]
    if count == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= count
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
