"""Set the label gate's limits for a rate of false rejections, and measure how many wrong labels it detects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import Item, icdr_grade, load_datalist, write_json
from monai_retina_gen.data.files import check_writable
from monai_retina_gen.data.names import LESIONS
from monai_retina_gen.editing import (
    GateLimits,
    LabelGate,
    erase_lesions,
    harmless_change,
    joint_limits,
    label_limits,
    transplant_lesions,
)
from monai_retina_gen.editing.gate_limits import EDIT_TESTS
from monai_retina_gen.editing.gate_measures import grade_distance, grade_excess
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS, DEFAULT_SEGMENTER
from monai_retina_gen.evidence.evaluation.image_sets import load_eye
from monai_retina_gen.networks.inputs import resized
from monai_retina_gen.weights import find_bundle, read_inference_config, split_bundle_name

SIDES = (32, 64, 128, 256)
"""Sides, in pixels, at which photographs are judged for the limits, beside the graders' own: as images are made."""
REPORT = "gate.json"
OPEN = GateLimits(0.5, {1: [4.0] * 5}, {1: [1.0] * 5}, 1.0, 4.0, 1.0, 1.0)
"""Limits that nothing exceeds: what gates have while their statistics are collected."""


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
    """Measure graded photographs by a gate whose limits play no part, reduced to each of `sides`.

    `edits` harmless changes, and planted ones of each kind, are made at `image_size`, spread evenly. Lesions are
    transplanted within a fold (`folds`, by group), so that no judge has seen where they come from.
    """
    found, sources = GateStatistics(), dict[int, list[Item]]()
    for item in items:
        if any(name in item for name in LESIONS) and icdr_grade(item) >= 2:
            sources.setdefault(folds.get(str(item.get("group")), -1), []).append(item)
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


def calibrate_gate(
    datalist: str,
    out: str | Path,
    *,
    dataset_dir: str | None = None,
    graders: str = DEFAULT_GRADERS,
    segmenter: str | None = DEFAULT_SEGMENTER,
    rate: float = 0.1,
    image_size: int = 512,
    edits: int = 100,
    device: str = "cpu",
) -> dict[str, Any]:
    """Set the limits on training and validation photographs, each judged out of fold; verify them on the test section.

    `graders` (`BUNDLE:CONFIG`, cross-fitted on `datalist`) get the limits in their configuration. `rate` of the true
    labels and harmless changes may be refused; `edits` changes of each kind are judged at `image_size`. Without a
    `segmenter` vessels and surroundings play no part. Returns what `gate.json` holds: limits, false rejections and
    detections.
    """
    name, config_name = split_bundle_name(graders)
    path = find_bundle(name) / "configs" / f"{config_name}.json"
    check_writable(path.parent)
    config = read_inference_config(find_bundle(name), config_name)
    folds = config["network_def"]["folds"]
    gate = LabelGate(graders=graders, segmenter=segmenter, limits=OPEN, device=device)
    whole = load_datalist(datalist, dataset_dir, require_grade=True)
    sides = sorted({*SIDES, int(config.get("image_size", SIDES[-1]))})
    options: dict[str, Any] = {"image_size": image_size, "folds": folds, "edits": edits, "sides": sides}
    own = collect_statistics([*whole["training"], *whole["validation"]], gate, what="out of fold", **options)
    limits = limits_from(own, rate)
    measured = {"out_of_fold": own}
    if whole["test"]:
        measured["test"] = collect_statistics(whole["test"], gate, what="test", **options)
    report: dict[str, Any] = {"limits": limits.as_dict()}
    for name, found in measured.items():
        rates = {"false_rejection": false_rejections(found, limits), "detection": detection(found, limits)}
        report[name] = {"n": len(found.grades), **rates}
    write_json(report, Path(out) / REPORT)
    write_json({**config, "gate": limits.as_dict()}, path, sort_keys=False)
    return report


def limits_from(found: GateStatistics, rate: float) -> GateLimits:
    """Limits of labels per side and grade, and limits of edits, that hold together (see `GateLimits`)."""
    grades, distances, excesses = torch.tensor(found.grades), {}, {}
    for side, rows in found.probabilities.items():
        measured = _label_statistics(rows)
        each = [label_limits(measured[grades == g, g], rate) for g in range(measured.shape[1])]
        # too few photographs of a grade refuse nothing; JSON knows no infinity
        distances[side] = [min(distance, len(each) - 1.0) for distance, _ in each]
        excesses[side] = [min(excess, 1.0) for _, excess in each]
    tests = [name for name in EDIT_TESTS if all(name in row for row in found.harmless)]
    statistics = torch.tensor([[row[name] for name in tests] for row in found.harmless])
    edit = dict(zip(tests, joint_limits(statistics, rate).tolist(), strict=True))
    # a test that could not be made here is never failed
    rest = {name: edit.get(name, getattr(OPEN, name)) for name in EDIT_TESTS}
    return GateLimits(false_rejection=rate, distances=distances, excesses=excesses, **rest)


def _label_statistics(rows: Sequence[Tensor]) -> Tensor:
    """`(n, grades, 2)` of n rows of probabilities, in the order of `GateLimits.of_label`."""
    probabilities = torch.stack(list(rows))
    return torch.stack([grade_distance(probabilities), grade_excess(probabilities)], 2)


def _refused_labels(rows: Sequence[Tensor], limits: GateLimits, side: int) -> Tensor:
    """Whether each grade would be refused as label, `(n, grades)` bool."""
    measured = _label_statistics(rows)
    allowed = torch.tensor([limits.of_label(side, g) for g in range(measured.shape[1])])
    return (measured > allowed).any(2)


def false_rejections(found: GateStatistics, limits: GateLimits) -> dict[str, Any]:
    """Share of true labels refused, by side, and of harmless changes."""
    result = {}
    for side, rows in found.probabilities.items():
        refused = _refused_labels(rows, limits, side)[range(len(rows)), found.grades]
        result[f"photographs at {side} pixels"] = _share(refused.tolist())
    result["harmless changes"] = _share([_fails(row, limits) for row in found.harmless])
    return result


def detection(found: GateStatistics, limits: GateLimits) -> dict[str, Any]:
    """Share of wrong labels and of planted changes refused."""
    result = {}
    for side, rows in found.probabilities.items():
        refused = _refused_labels(rows, limits, side)
        apart = (torch.arange(refused.shape[1]) - torch.tensor(found.grades)[:, None]).abs()
        for distance in (1, 2, 3, 4):
            result[f"label wrong by {distance}, at {side} pixels"] = _share(refused[apart == distance].tolist())
    for kind, rows_of_kind in found.planted.items():
        result[kind] = _share([_fails(row, limits) for _, row in rows_of_kind])
        by_grades = ("probability_drop", "grade_shift")
        result[f"{kind}, by the graders alone"] = _share([_fails(row, limits, by_grades) for _, row in rows_of_kind])
    return result


def _fails(row: Mapping[str, float], limits: GateLimits, tests: Sequence[str] = EDIT_TESTS) -> bool:
    return any(row.get(name, float("-inf")) > getattr(limits, name) for name in tests)


def _share(refused: Sequence[bool]) -> dict[str, Any]:
    """Rate with Wilson's interval; photographs that occur several times are counted as independent."""
    if not refused:
        return {"n": 0, "rate": None}
    low, high = binomtest(sum(refused), len(refused)).proportion_ci(method="wilson")
    return {"n": len(refused), "rate": sum(refused) / len(refused), "low": float(low), "high": float(high)}
