"""Random functions that draw the same numbers at every call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["repeatable"]


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
