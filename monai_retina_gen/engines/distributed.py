"""Several processes without a wrapper around the networks: the same weights at the start, then averaged gradients.

`DistributedDataParallel` expects one backward pass a step through all parameters. Critics, penalties and generators
take several partial ones; averaging the gradients by hand before the optimiser covers them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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


def average_buffers(network: nn.Module) -> None:
    """Average the buffers with fractions over all processes: a running mean is then that of the joined batch."""
    _average([b for b in network.buffers() if b.is_floating_point()])


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Average gradients over all processes, in one message; parameters without a gradient anywhere keep none."""
    _average([p.grad for p in parameters if p.grad is not None])


@torch.no_grad()
def _average(tensors: list[Tensor]) -> None:
    if world()[1] == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world()[1]
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def repeatable(function: Callable[[Tensor], Tensor], device: torch.device) -> Callable[[Tensor], Tensor]:
    """The function with the random numbers of its first call in all later ones.

    The first call draws from torch's global random states, of the CPU and of `device`, as the function itself would;
    later ones leave them alone.
    """
    if isinstance(function, nn.Identity):
        return function
    states: list[Tensor] = []
    cuda = [device] if device.type == "cuda" else []

    def call(images: Tensor) -> Tensor:
        if not states:
            states.extend([torch.get_rng_state(), *(torch.cuda.get_rng_state(each) for each in cuda)])
            return function(images)
        with torch.random.fork_rng(devices=cuda):
            torch.set_rng_state(states[0])
            for each, state in zip(cuda, states[1:], strict=True):
                torch.cuda.set_rng_state(state, each)
            return function(images)

    return call


def seed_of(*numbers: int) -> int:
    """One seed of several whole numbers, such as a run's seed, an iteration and a process."""
    seed = 0
    for number in numbers:
        seed = (seed * 6_364_136_223_846_793_005 + number + 1_442_695_040_888_963_407) % 2**63
    return seed


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the CPU and this device alone: `torch.manual_seed` formats a stack for every device that is not in use."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


class FiniteGradients:
    """Replaces NaN by 0 and infinite values by the limit.

    Args:
        limit: largest absolute value.

    Examples:
        >>> weight = nn.Parameter(torch.zeros(2)); weight.grad = torch.tensor([float("nan"), float("inf")])
        >>> FiniteGradients(limit=10.0)([weight]); weight.grad
        tensor([ 0., 10.])
    """

    def __init__(self, *, limit: float = 1e5) -> None:
        self.limit = limit

    @torch.no_grad()
    def __call__(self, parameters: Sequence[nn.Parameter]) -> None:
        for parameter in parameters:
            if parameter.grad is not None:
                torch.nan_to_num_(parameter.grad, nan=0.0, posinf=self.limit, neginf=-self.limit)


class ClipGradientNorm:
    """Scales all gradients of a network together so that their norm is at most `max_norm`."""

    def __init__(self, *, max_norm: float) -> None:
        self.max_norm = max_norm

    def __call__(self, parameters: Sequence[nn.Parameter]) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)
