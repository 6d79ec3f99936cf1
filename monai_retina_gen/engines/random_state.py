"""Random numbers of a training: seeds of its iterations, and functions that draw the same numbers at every call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def repeatable(function: Callable[[Tensor], Tensor], device: torch.device) -> Callable[[Tensor], Tensor]:
    """The function with the random numbers of its first call in all later ones.

    The first call draws from torch's global random states, as the function itself would; later ones leave them alone.

    Args:
        function: draws from the states of the CPU and of `device`.
        device: where it runs.

    Examples:
        >>> noise = repeatable(lambda x: x + torch.rand(3), torch.device("cpu"))
        >>> torch.equal(noise(torch.zeros(3)), noise(torch.zeros(3)))
        True
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
    """One seed of several whole numbers, such as a run's seed, an iteration and a process.

    Examples:
        >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(1, 0)
        (True, False)
    """
    seed = 0
    for number in numbers:
        seed = (seed * 6_364_136_223_846_793_005 + number + 1_442_695_040_888_963_407) % 2**63
    return seed


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the CPU and this device alone: `torch.manual_seed` formats a stack for every device that is not in use."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
