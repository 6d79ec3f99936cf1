"""The one way of an edit: drawn at the strength asked for, and under a gate at the strongest that it accepts.

A generator says how its edits are drawn (`PendingEdits`); what was tried, refused and kept is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from monai_retina_gen.editing.edit_request import EditRequest
from monai_retina_gen.editing.label_gate import Gate
from monai_retina_gen.editing.tries import strongest_accepted

__all__ = ["EditedPhotographs", "PendingEdits", "settled_edits"]


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


@dataclass
class EditedPhotographs:
    """Outcome of an `EditRequest`.

    Args:
        image: `(B, 3, H, W)`; where refused, the photograph bit for bit.
        strength: `(B,)` that was used, 0 where refused.
        refused: reasons, `""` where edited.
        judge: name of the gate, `""` without one.
    """

    image: Tensor
    strength: Tensor
    refused: list[str]
    judge: str = ""


def settled_edits(
    pending: PendingEdits, request: EditRequest, *, gate: Gate | None = None, tries: int = 4
) -> EditedPhotographs:
    """Carry out edits.

    Args:
        pending: the edits of `request`.
        request: what was asked for.
        gate: the strongest edit that it accepts is kept, up to the strength asked for; without one, that strength.
        tries: edits of an image at most, under the gate.
    """
    done = EditedPhotographs(request.images.clone(), torch.zeros(len(request.grades)), list(pending.refused))
    rows = [i for i, reason in enumerate(done.refused) if not reason]

    def attempt(few: list[int], tried: Tensor) -> list[str]:
        whole = [rows[i] for i in few]
        images, reasons = pending.draw(whole, tried)
        if gate is not None:
            judged, done.judge = _judged(gate, images, request, whole)
            reasons = [own or found for own, found in zip(reasons, judged, strict=True)]
        for row, image, reason in zip(whole, images, reasons, strict=True):
            if not reason:
                done.image[row] = image
        return reasons

    used, reasons = strongest_accepted(attempt, pending.strengths[rows], tries=tries if gate else 1)
    for row, strength, reason in zip(rows, used, reasons, strict=True):
        done.strength[row], done.refused[row] = strength, reason
    return done


def _judged(gate: Gate, images: Tensor, request: EditRequest, rows: list[int]) -> tuple[list[str], str]:
    """The gate's reasons against edits, and its name."""
    groups = [request.groups[i] for i in rows]
    verdict = gate.check(images, request.grades[rows].tolist(), request.images[rows], groups)
    return list(verdict.reasons), verdict.judge
