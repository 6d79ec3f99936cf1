"""The one way of an edit: drawn at the strength asked for, and under a gate at the strongest that it accepts.

A generator says how its edits are drawn (`PendingEdits`); what was tried, refused and kept is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
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
