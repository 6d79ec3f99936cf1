"""What a curation says of itself: counts by grade and reason, hashes, warnings, and two sheets of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import write_image
from monai_retina_gen.data.sampling import spread
from monai_retina_gen.evidence.curation.candidates import CandidatePool, is_unconditional, network_sha256
from monai_retina_gen.evidence.curation.selection import REASONS, Selection
from monai_retina_gen.evidence.report.pictures import labelled_rows

__all__ = ["distribution", "lines", "outcome", "pictures", "statement", "warnings_of"]

COLUMNS = 10
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def outcome(selection: Selection, num_classes: int, per_grade: int, seed: int) -> dict[str, Any]:
    """Counts per grade that the graders see, refusals in all, and the seeds of the kept candidates by grade."""
    return {
        "grades": {str(grade): _grade(selection, grade, per_grade) for grade in range(num_classes)},
        "refused": {reason: len(selection.rows(reason=reason)) for reason in REASONS},
        "seeds": {str(g): [seed + row for row in selection.rows(grade=g)] for g in range(num_classes)},
    }


def _grade(selection: Selection, grade: int, per_grade: int) -> dict[str, Any]:
    kept = len(selection.rows(grade=grade))
    return {
        "candidates": selection.grades.count(grade),
        "kept": kept,
        "lacking": per_grade - kept,
        "refused": {reason: len(selection.rows(reason=reason, grade=grade)) for reason in REASONS},
    }


def distribution(values: Tensor, threshold: float) -> dict[str, Any]:
    """Share of candidates whose realism or confidence passes, and quantiles of the finite values."""
    finite = values[values.isfinite()].double()
    quantiles = finite.quantile(torch.tensor(QUANTILES, dtype=torch.float64)).tolist() if len(finite) else []
    return {
        "threshold": threshold,
        "share_passing": float((values >= threshold).double().mean()),
        "quantiles": dict(zip(map(str, QUANTILES), quantiles, strict=False)),
    }


def statement(pool: CandidatePool, stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """Who made, scored and labelled: names and hashes. After storing, the weights are the stored ones."""
    generator = pool.generator
    return {
        "generator": {
            "name": generator.name,
            "version": generator.version,
            "weights_sha256": stored["sha256"] if stored else generator.weights_sha256,
            "network_sha256": network_sha256(generator.network.state_dict()),
            "image_size": generator.image_size,
            "conditional": not is_unconditional(generator),
        },
        "extractor": pool.extractor.as_dict(),
        "graders": [grader.as_dict() for grader in pool.graders],
        "stored": dict(stored) if stored else None,
    }


def warnings_of(pool: CandidatePool, photographs: int) -> list[str]:
    """What the reader must know."""
    graders, found = [grader.as_dict() for grader in pool.graders], []
    if len(graders) == 1 and not graders[0].get("cross_fitted"):
        found.append(
            "One grader, not cross-fitted: where it was trained on the generator's photographs it may know them, not "
            "the label. Grades are its opinion."
        )
    if any(grader["sha256"] and grader["sha256"] == pool.extractor.sha256 for grader in graders):
        found.append("The extractor that scores realism and a grader are the same network: they err together.")
    if photographs < 50:
        found.append(f"Realism is scored against {photographs} photographs: under 50, no score is reliable.")
    return found


def lines(result: Mapping[str, Any]) -> list[str]:
    """The outcome in words: one line a grade, one for all refusals, and the warnings."""
    found = []
    for grade, counts in result["grades"].items():
        short = f": {counts['lacking']} too few" if counts["lacking"] else ""
        found.append(f"grade {grade}: kept {counts['kept']} of {counts['candidates']} candidates{short}")
    refused = ", ".join(f"{n} {reason}" for reason, n in result["refused"].items() if n)
    found.append(f"refused: {refused or 'none'}")
    for name, words in (("realism", "realistic"), ("confidence", "clearly of a grade")):
        beside = result[name]["photographs"]
        photographs = f", of photographs {beside['share_passing']:.2f} (n = {beside['n']})" if beside else ""
        found.append(f"{words}: {result[name]['share_passing']:.2f} of the candidates{photographs}")
    return [*found, *result["warnings"]]


def pictures(folder: Path, pool: CandidatePool, selection: Selection, grades: Mapping[str, Any]) -> dict[str, str]:
    """Write `kept.png` (one row a grade) and `refused.png` (one row a reason); returns their names."""
    kept = [(_kept_words(g, counts), selection.rows(grade=int(g))) for g, counts in grades.items()]
    refused = [(f"{reason}\n{len(rows)}", rows) for reason in REASONS if (rows := selection.rows(reason=reason))]
    sheets: dict[str, Sequence[tuple[str, list[int]]]] = {"kept": kept, "refused": refused or [("none refused", [])]}
    for name, rows_by_words in sheets.items():
        shown = [(words, [rows[i] for i in spread(len(rows), COLUMNS)]) for words, rows in rows_by_words]
        sheet = labelled_rows([(words, pool.images(rows).float() / 255) for words, rows in shown], columns=COLUMNS)
        write_image(folder / f"{name}.png", sheet)
    return {name: f"{name}.png" for name in sheets}


def _kept_words(grade: str, counts: Mapping[str, Any]) -> str:
    lacking = f"\n{counts['lacking']} too few" if counts["lacking"] else ""
    return f"grade {grade}\n{counts['kept']} kept{lacking}"
