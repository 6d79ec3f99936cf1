"""Tries under a gate: others until one passes, or the strongest edit that passes.

Both judge a whole batch at once and go on with the rows that are still open.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["first_accepted", "strongest_accepted"]

Attempt = Callable[[list[int], int], list[str]]
Check = Callable[[list[int], Tensor], list[str]]


def first_accepted(attempt: Attempt, count: int, *, tries: int = 4) -> list[str]:
    """Try each row anew until it passes.

    Args:
        attempt: reasons against the rows, `""` for none, given the rows and the number of the try, from 0 on.
        count: number of rows.
        tries: of a row at most, at least 1.

    Returns:
        The reason against each row's last try, `""` where it passed.

    Raises:
        ValueError: for fewer than one try.

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

    Args:
        check: reasons against edits, `""` for none, given the rows and their strengths.
        strengths: `(B,)` that are wanted; tried first, and kept where they pass.
        tries: edits of an image at most, at least 1.

    Returns:
        Strengths `(B,)`, 0 where no try passed, and the reason against the weakest try, `""` where one passed.

    Raises:
        ValueError: for fewer than one try.

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
