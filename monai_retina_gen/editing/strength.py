"""Strength of an edit, image by image: the strongest that a gate accepts, or the one that reaches a lesion area.

Both by bisection: the effect of an edit grows with its strength, and how fast differs from eye to eye.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["strength_for_area", "strongest_accepted"]

Check = Callable[[list[int], Tensor], list[str]]
Areas = Callable[[Tensor], Tensor]


def strongest_accepted(check: Check, strengths: Tensor, *, tries: int = 4) -> tuple[Tensor, list[str]]:
    """Largest share of each strength that passes, to within `2 ** (1 - tries)` of it.

    Args:
        check: reasons against edits, `""` for none, given the rows and their strengths.
        strengths: `(B,)` that are wanted; tried first, and kept where they pass.
        tries: edits of an image at most, at least 1.

    Returns:
        Strengths `(B,)`, 0 where no try passed, and the reason against the weakest try, `""` where one passed.

    Examples:
        >>> limit = lambda rows, strengths: ["" if abs(s) <= 0.3 else "too much" for s in strengths]
        >>> strongest_accepted(limit, torch.tensor([0.2, -1.0]))
        (tensor([ 0.2000, -0.2500]), ['', ''])
    """
    if tries < 1:
        raise ValueError(f"tries must be at least 1, got {tries}")
    low, high = torch.zeros_like(strengths), strengths.clone()
    reasons, rows = [""] * len(strengths), list(range(len(strengths)))
    tried = high.clone()
    for _ in range(tries):
        if not rows:
            break
        for row, reason in zip(rows, check(rows, tried[rows]), strict=True):
            accepted = not reason
            if accepted:
                low[row], reasons[row] = tried[row], ""
            else:
                high[row] = tried[row]
                reasons[row] = "" if low[row] != 0 else reason
        rows = [row for row in rows if low[row] != high[row]]
        tried = (low + high) / 2
    return low, reasons


def strength_for_area(areas: Areas, wanted: Tensor, *, tries: int = 7) -> Tensor:
    """Strengths in [-1, 1] at which areas change by wanted amounts, to within `2 ** -tries`.

    Args:
        areas: areas `(B,)` of all images at strengths `(B,)`; taken to grow with the strength.
        wanted: `(B,)` changes relative to the unedited area, such as 0.25; from -1 on.
        tries: halvings.

    Returns:
        `(B,)`; 1 or -1 where the change cannot be reached.

    Examples:
        >>> strength_for_area(lambda s: 2 + s, torch.tensor([0.25, -0.125]), tries=10)
        tensor([ 0.5000, -0.2500])
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
