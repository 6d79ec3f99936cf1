"""Tries under a gate: others until one passes, or the strongest edit that passes.

Both judge a whole batch at once and go on with the rows that are still open.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Attempt = Callable[[list[int], int], list[str]]
Check = Callable[[list[int], Tensor], list[str]]


def first_accepted(attempt: Attempt, count: int, *, tries: int = 4) -> list[str]:
    """Try each of `count` rows anew until it passes; the reason against each row's last try, `""` for none.

    `attempt` gives the reasons against rows, for the rows and the number of the try, from 0 on.

    Examples:
        >>> first_accepted(lambda rows, number: ["" if number >= row else "too red" for row in rows], 3, tries=2)
        ['', '', 'too red']
    """
    _check_tries(tries)
    reasons, rows = [""] * count, list(range(count))
    for number in range(tries):
        if not rows:
            break
        for row, reason in zip(rows, attempt(rows, number), strict=True):
            reasons[row] = reason
        rows = [row for row in rows if reasons[row]]
    return reasons


def strongest_accepted(check: Check, strengths: Tensor, *, tries: int = 4) -> tuple[Tensor, list[str]]:
    """Largest share of each strength that passes, to within `2 ** (1 - tries)` of it, by bisection.

    `check` gives the reasons against edits, for the rows and their strengths; the strengths `(B,)` that are wanted are
    tried first. Strengths are 0 where no try passed, with the reason against the weakest.

    Examples:
        >>> limit = lambda rows, strengths: ["" if abs(s) <= 0.3 else "too much" for s in strengths]
        >>> strongest_accepted(limit, torch.tensor([0.2, -1.0]))
        (tensor([ 0.2000, -0.2500]), ['', ''])
    """
    _check_tries(tries)
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


def _check_tries(tries: int) -> None:
    if tries < 1:
        raise ValueError(f"tries must be at least 1, got {tries}")
