"""The copying audit's section of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai_retina_gen.evidence.report.html import Cell, figure, number, paragraph, picture, section, table, warnings
from monai_retina_gen.evidence.report.plots import audit_plot

Result = dict[str, Any]
_FIGURES = ["space", "images", "n", "ratio below 0.5", "median ratio", "authentic", "C_T", "cells tested"]
_FIGURES += ["C_T of cells"]
_TESTS = ["space", "question", "found", "expected if nothing is copied", "p, corrected"]


def audit_section(result: Result, folder: Path) -> list[str]:
    """Verdict and rule, tests, figures, plot and closest pairs of `audit`."""
    data, extractor = result["data"], result["extractor"]
    told = (
        f"{data['n_generated']} images against {data['n_train']} training photographs and {data['n_holdout']} held "
        f"out. Feature space: {extractor['name']} (sha256 {extractor['sha256'][:12] or 'none'}, d = "
        f"{extractor['dimension']}); pixel space: luminance and colour at 32 x 32, with flips and shifts."
    )
    caption = "Closest pairs in {}: generated, nearest training photograph, nearest photograph held out."
    spaces = result["spaces"]
    notes = {found["data_copying"]["note"] for found in spaces.values()} - {""}
    return [
        section(
            "Copying audit",
            *(paragraph(sentence) for sentence in result["verdict"]["sentences"]),
            paragraph(f"The rule: {result['rule']}"),
            paragraph(told),
            table(_TESTS, [row for name in spaces for row in _tests(name, spaces[name])], "Tests"),
            table(_FIGURES, [row for name in spaces for row in _figures(name, spaces[name])], "Figures"),
            *(paragraph(note) for note in sorted(notes)),
            figure(audit_plot(spaces), "Shares of generated images and of photographs held out.", plot=True),
            *(picture(folder, name, caption.format(space)) for space, name in result["pictures"].items()),
            warnings(result["limits"]),
        )
    ]


def _tests(space: str, found: Result) -> list[list[Cell]]:
    tests = found["tests"]
    smallest = tests["smallest"]
    threshold = f"not below {number(smallest['threshold'])}"
    return [
        [space, "near images", found["generated"]["near"], tests["near"]["expected"], tests["near"]["p_value"]],
        [space, "smallest ratio", smallest["ratio"], threshold, smallest["p_value"]],
        [space, "mean ratio", tests["mean"]["ratio"], tests["mean"]["expected"], tests["mean"]["p_value"]],
    ]


def _figures(space: str, found: Result) -> list[list[Cell]]:
    copying = found["data_copying"]
    cells = {"generated": sum(z is not None for z in copying["cell_z"]), "holdout": copying["holdout_cells"]}
    of_cells = {"generated": ", ".join(map(number, copying["cell_z"])), "holdout": None}
    names = ("n", "near_share", "ratio_median", "authentic_share")
    return [
        [space, kind, *(found[kind][name] for name in names), copying[kind], cells[kind], of_cells[kind]]
        for kind in ("generated", "holdout")
    ]
