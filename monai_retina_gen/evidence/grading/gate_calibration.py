"""Set the label gate's limits for a rate of false rejections, and measure how many wrong labels it detects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor

from monai_retina_gen.data import load_datalist, write_json
from monai_retina_gen.data.files import check_writable
from monai_retina_gen.editing import GateLimits, LabelGate, joint_limits, label_limits
from monai_retina_gen.editing.gate_limits import EDIT_TESTS
from monai_retina_gen.editing.gate_measures import grade_distance, grade_excess
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS, DEFAULT_SEGMENTER
from monai_retina_gen.evidence.grading.gate_statistics import SIDES, GateStatistics, collect_statistics
from monai_retina_gen.weights import find_bundle, read_inference_config, split_bundle_name

__all__ = ["calibrate_gate", "detection", "false_rejections", "limits_from"]

REPORT = "gate.json"
OPEN = GateLimits(0.5, {1: [4.0] * 5}, {1: [1.0] * 5}, 1.0, 4.0, 1.0, 1.0)
"""Limits that nothing exceeds: what gates have while their statistics are collected."""


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

    Args:
        datalist: the one that the graders were cross-fitted on.
        out: folder for `gate.json`.
        dataset_dir: folder of a named data set.
        graders: `BUNDLE:CONFIG`; the limits are written into this configuration under `gate`.
        segmenter: its bundle; `None` leaves vessels and surroundings out.
        rate: share of true labels, and of harmless changes, that may be refused.
        image_size: side at which edits are judged.
        edits: number of harmless changes, and of planted ones of each kind.
        device: where the networks run.

    Returns:
        What `gate.json` holds: limits, false rejections and detections, with n and 95 % intervals.
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
    report = {"limits": limits.as_dict(), "out_of_fold": _figures(own, limits)}
    if whole["test"]:
        test = collect_statistics(whole["test"], gate, what="test", **options)
        report["test"] = _figures(test, limits)
    write_json(report, Path(out) / REPORT)
    write_json({**config, "gate": limits.as_dict()}, path, sort_keys=False)
    return report


def limits_from(found: GateStatistics, rate: float) -> GateLimits:
    """Limits of labels per side and grade, and limits of edits, that hold together (see `GateLimits`)."""
    grades, distances, excesses = torch.tensor(found.grades), {}, {}
    for side, rows in found.probabilities.items():
        measured = _label_statistics(torch.stack(rows))
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


def _label_statistics(probabilities: Tensor) -> Tensor:
    """`(n, grades, 2)` of probabilities `(n, grades)`, in the order of `GateLimits.of_label`."""
    return torch.stack([grade_distance(probabilities), grade_excess(probabilities)], 2)


def _refused_labels(rows: Sequence[Tensor], limits: GateLimits, side: int) -> Tensor:
    """Whether each grade would be refused as label, `(n, grades)` bool."""
    measured = _label_statistics(torch.stack(list(rows)))
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


def _figures(found: GateStatistics, limits: GateLimits) -> dict[str, Any]:
    return {
        "n": len(found.grades),
        "false_rejection": false_rejections(found, limits),
        "detection": detection(found, limits),
    }


def _fails(row: Mapping[str, float], limits: GateLimits, tests: Sequence[str] = EDIT_TESTS) -> bool:
    return any(row.get(name, float("-inf")) > getattr(limits, name) for name in tests)


def _share(refused: Sequence[bool]) -> dict[str, Any]:
    """Rate with Wilson's interval; photographs that occur several times are counted as independent."""
    if not refused:
        return {"n": 0, "rate": None}
    low, high = binomtest(sum(refused), len(refused)).proportion_ci(method="wilson")
    return {"n": len(refused), "rate": sum(refused) / len(refused), "low": float(low), "high": float(high)}
