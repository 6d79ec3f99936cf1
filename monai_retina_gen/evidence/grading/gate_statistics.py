"""What the label gate's limits and its detection rate are taken from: photographs, harmless and planted changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import Item, icdr_grade
from monai_retina_gen.data.names import LESIONS
from monai_retina_gen.editing import LabelGate, erase_lesions, harmless_change, transplant_lesions
from monai_retina_gen.evidence.evaluation.image_sets import load_eye
from monai_retina_gen.networks.resizing import resized

__all__ = ["GateStatistics", "collect_statistics", "load_with_lesions"]

SIDES = (32, 64, 128, 256)
"""Sides, in pixels, at which photographs are judged for the limits, beside the graders' own: as images are made."""


@dataclass
class GateStatistics:
    """Statistics of photographs, one row each."""

    grades: list[int] = field(default_factory=list)
    probabilities: dict[int, list[Tensor]] = field(default_factory=dict)  # (n, grades) by side in pixels
    harmless: list[dict[str, float]] = field(default_factory=list)  # measures of harmless changes
    planted: dict[str, list[tuple[int, dict[str, float]]]] = field(default_factory=dict)
    """Measures of planted changes, by their kind; each with the label that no longer holds."""


def collect_statistics(
    items: Sequence[Item],
    gate: LabelGate,
    *,
    image_size: int,
    folds: Mapping[str, int],
    edits: int,
    what: str,
    sides: Sequence[int] = SIDES,
) -> GateStatistics:
    """Measure graded photographs, by a gate whose limits play no part.

    Args:
        items: which lesions are annotated, `annotated_lesions` says.
        gate: measures.
        image_size: side at which edits are made.
        folds: fold by group. Lesions are transplanted within a fold, so that no judge has seen where they come from.
        edits: harmless changes, and planted ones of each kind, that are made; spread evenly over the photographs.
        what: name of the photographs for the progress bar.
        sides: sides in pixels to which photographs are reduced before they are judged.
    """
    found, sources = GateStatistics(), _annotated_by_fold(items, folds)
    chosen = set(range(0, len(items), max(1, len(items) // max(edits, 1))))
    for index, item in enumerate(tqdm(items, desc=what, unit="photograph")):
        image, mask = load_with_lesions(item, image_size)
        grade, group = icdr_grade(item), str(item.get("group"))
        found.grades.append(grade)
        for side in sides:
            small = resized(image[None], side)
            found.probabilities.setdefault(side, []).append(gate.probabilities(small, [group])[0])
        if index in chosen:
            changed = harmless_change(image, index)
            found.harmless += gate.measure(changed[None], [grade], image[None], [group])
        for kind, changed in _planted(item, image, mask, sources.get(folds.get(group, -1), []), index, image_size):
            rows = found.planted.setdefault(kind, [])
            if len(rows) < edits:
                rows.append((grade, gate.measure(changed[None], [grade], image[None], [group])[0]))
    return found


def load_with_lesions(item: Item, size: int) -> tuple[Tensor, Tensor]:
    """A photograph `(3, size, size)` in [0, 1] and the union of its lesion masks `(1, size, size)`, 0 without any."""
    keys = [name for name in LESIONS if name in item]
    plain = load_eye(item, size, keys)
    mask = torch.stack([plain[key].float() for key in keys]).amax(0) if keys else torch.zeros(1, size, size)
    return plain["image"].float(), mask


def _annotated_by_fold(items: Sequence[Item], folds: Mapping[str, int]) -> dict[int, list[Item]]:
    found: dict[int, list[Item]] = {}
    for item in items:
        if any(name in item for name in LESIONS) and icdr_grade(item) >= 2:
            found.setdefault(folds.get(str(item.get("group")), -1), []).append(item)
    return found


def _planted(
    item: Item, image: Tensor, mask: Tensor, sources: Sequence[Item], index: int, size: int
) -> list[tuple[str, Tensor]]:
    """Changes of this photograph that take its label away."""
    if icdr_grade(item) == 0 and sources:
        source, lesions = load_with_lesions(sources[index % len(sources)], size)
        return [("lesions of another photograph on one of grade 0", transplant_lesions(image, source, lesions))]
    if icdr_grade(item) >= 2 and bool(mask.any()):
        return [("all annotated lesions erased from grade 2 to 4", erase_lesions(image, mask))]
    return []
