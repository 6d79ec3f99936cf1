"""Strength of an edit, image by image, that reaches a lesion area.

By bisection: the effect of an edit grows with its strength, and how fast differs from eye to eye.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Areas = Callable[[Tensor], Tensor]


def strength_for_area(areas: Areas, wanted: Tensor, *, tries: int = 7) -> Tensor:
    """Strengths `(B,)` in [-1, 1] at which areas change by wanted shares, from -1 on, to within `2 ** -tries`.

    `areas` are taken to grow with the strength; 1 or -1 where the change cannot be reached.
    """
    if bool((wanted < -1).any()):
        raise ValueError(f"area changes {wanted.tolist()}: an area can fall by its whole at most, which is -1")
    target = areas(torch.zeros_like(wanted)) * (1 + wanted)
    sign = wanted.sign()
    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    reached = (areas(sign) - target) * sign >= 0
    for _ in range(tries):
        middle = (low + high) / 2
        over = (areas(middle * sign) - target) * sign >= 0
        low, high = torch.where(over, low, middle), torch.where(over, middle, high)
    return torch.where(reached, high, torch.ones_like(high)) * sign
