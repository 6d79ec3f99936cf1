"""When to look at tensors' values, so that a GPU is not waited for at every call.

To read a value of a tensor on a GPU, the host waits until everything asked for so far is done; in a training step that
costs more than the check is worth.
"""

from __future__ import annotations

import torch

__all__ = ["OccasionalLook"]


class OccasionalLook:
    """Says when to look at values: on the CPU always, elsewhere at the first call and at every `interval`-th.

    What is wrong with images (another range, say) is mostly wrong from the first call on.

    Args:
        interval: calls from one look to the next.

    Examples:
        >>> look = OccasionalLook(interval=3)
        >>> [look.due(torch.device("cuda")) for _ in range(5)], look.due(torch.device("cpu"))
        ([True, False, False, True, False], True)
    """

    def __init__(self, interval: int = 100) -> None:
        self.interval, self.calls = interval, 0

    def due(self, device: torch.device) -> bool:
        """Whether this call looks."""
        self.calls += 1
        return device.type == "cpu" or (self.calls - 1) % self.interval == 0
