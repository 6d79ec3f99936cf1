"""The one way of an edit: drawn at the strength asked for, and under a gate at the strongest that it accepts.

A generator says how its edits are drawn (`PendingEdits`); what was tried, refused and kept is decided here, for a whole
batch at once, which goes on with the rows that are still open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from monai_retina_gen.editing.edit_request import EditRequest
from monai_retina_gen.editing.label_gate import Gate


class PendingEdits(Protocol):
    """Edits of `B` photographs by one generator, of which only the strength is open.

    What does not depend on the strength (an inversion, the photograph's own masks) is done once, when it is made.
    """

    refused: list[str]
    """Why an edit cannot be drawn at all, `""` where it can."""
    strengths: Tensor
    """`(B,)` in [-1, 1], on the CPU: the strengths to begin with."""

    def draw(self, rows: list[int], strengths: Tensor) -> tuple[Tensor, list[str]]:
        """Edited images `(R, 3, H, W)` of some rows, and what speaks against each, `""` for nothing."""
        ...

    def masks(self, images: Tensor, strengths: Tensor) -> Mapping[str, Tensor]:
        """Masks `(B, 1, H, W)` in [0, 1] by name, of the photographs as they were edited in the end."""
        ...

    def note(self, row: int) -> dict[str, Any]:
        """What the record says besides lesion and strength: options of `edit`, measures."""
        ...


class GatedEdits:
    """Edits on their way through a gate: `edits.finish(*strongest_accepted(edits.attempt, edits.asked))`.

    `asked` are the strengths to begin with, of edits that can be drawn at all. Then `image` is `(B, 3, H, W)`, where
    refused the photograph bit for bit, `strength` `(B,)` what was used, `refused` the reasons, and `judge` the gate's
    name.
    """

    def __init__(self, pending: PendingEdits, request: EditRequest, gate: Gate | None = None) -> None:
        self.pending, self.request, self.gate = pending, request, gate
        self.image, self.refused, self.judge = request.images.clone(), list(pending.refused), ""
        self.strength = torch.zeros(len(self.image), dtype=torch.float32)
        self.rows = [i for i, reason in enumerate(self.refused) if not reason]
        self.asked = pending.strengths[self.rows]

    def finish(self, strengths: Tensor, reasons: list[str]) -> GatedEdits:
        """Take the strengths that were accepted and the reasons where none was; returns itself."""
        for row, strength, reason in zip(self.rows, strengths, reasons, strict=True):
            self.strength[row], self.refused[row] = strength, reason
        return self

    def attempt(self, few: list[int], tried: Tensor) -> list[str]:
        """Draw some of the edits, keep those that pass, and give the reasons against the others."""
        rows = [self.rows[i] for i in few]
        images, reasons = self.pending.draw(rows, tried)
        if self.gate is not None:
            real, grades = self.request.images[rows], self.request.grades[rows].tolist()
            verdict = self.gate.check(images, grades, real, [self.request.groups[i] for i in rows])
            self.judge = verdict.judge
            reasons = [own or found for own, found in zip(reasons, verdict.reasons, strict=True)]
        for row, image, reason in zip(rows, images, reasons, strict=True):
            if not reason:
                self.image[row] = image
        return reasons


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
