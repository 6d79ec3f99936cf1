"""Sections of a report: each from the JSON that another command wrote, with the pictures beside it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from .html import Cell, figure, interval_text, number, paragraph, picture, section, table, warnings
from .pictures import agreement_plot, audit_plot

Result = dict[str, Any]


def evaluation_section(result: Result, folder: Path) -> str:
    """Figures of `evaluate`, its grids, and best and worst by realism."""
    generator, extractor, data, realism = (result[k] for k in ("generator", "extractor", "data", "realism"))
    told = (
        f"{data['n_generated']} samples of {generator['name']} {generator['version']} (weights "
        f"{generator['weights_sha256'][:12] or 'not from a file'}) against {data['n_real']} photographs, at "
        f"{data['image_size']} pixels. {_named(extractor)}. Preparation: {data['preparation']}."
    )
    scored = (
        f"Realism score (1 and more: within the photographs' manifold) of n = {realism['n']} samples: median "
        f"{number(realism['median'])}, at least 1 for {realism['share_at_least_1']:.0%}."
    )
    metrics = [*result["metrics"].values(), result["sliced_wasserstein"]]
    grades = ", ".join(data["real_grades"])
    pictures = {
        "grades": f"Grades {grades} from the top: photographs at the left, generated images at the right.",
        "best": "Samples with the highest realism score.",
        "worst": "Samples with the lowest realism score.",
    }
    return section(
        "Image quality",
        paragraph(told),
        warnings(_merged([f"{m['name']}: {w}" for m in metrics for w in m["warnings"]])),
        _metric_table(metrics),
        _grade_table(result["per_grade"]),
        _diversity(result["diversity"]),
        paragraph(scored),
        *(picture(folder, result["pictures"].get(name), caption) for name, caption in pictures.items()),
    )


def label_check_section(result: Result, folder: Path) -> str:
    """Agreement of graders with the grades that were asked for."""
    rows: list[list[Cell]] = []
    for grader in [*result["graders"], {"name": "all, pooled", "sha256": "", **result}]:
        for kind in ("generated", "real"):
            found = grader[kind]
            values = zip(found["agreement_per_grade"]["value"], found["per_grade_n"], strict=True)
            per_grade = [f"{number(value)} (n = {n})" for value, n in values]
            agreement, kappa = interval_text(found["agreement"]), interval_text(found["kappa"])
            n = found["agreement"]["n"]
            rows.append([grader["name"], grader["sha256"][:12], kind, n, agreement, kappa, *per_grade])
    head = ["grader", "sha256", "images", "n", "agreement", "kappa", *(f"grade {g}" for g in range(5))]
    plot = figure(agreement_plot(result), "Agreement with the grade asked for, beside that on photographs.", plot=True)
    return section("Label check", warnings(result["warnings"]), table(head, rows), plot)


def reader_section(result: Result, folder: Path) -> str:
    """Scores of a reader study."""
    told = (
        f"{result['n_readers']} readers, {result['n_images']} images, {result['n_generated']} of them generated. "
        f"Naming the commoner class always gives an accuracy of {result['chance_accuracy']:.2f}. Generated is the "
        "positive class."
    )
    rows = [[name.replace("_", ", "), interval_text(found)] for name, found in result["figures"].items()]
    return section("Reader study", paragraph(told), table(["figure", "value, 95 % interval"], rows))


_STUDY_PLOTS = {
    "confusion": "Confusion matrices of each arm and grader on {}: true grades in rows, predicted grades in columns.",
    "differences": "Differences of kappa between arms on {}, with intervals: right of 0 the first is better.",
    "figures": "Accuracy and kappa of each arm and grader on {}, with intervals.",
    "validation": "Mean kappa on the validation photographs by epoch, one curve an arm.",
}


def study_section(result: Result, folder: Path) -> str:
    """Verdict, tables and plots of `study`, as they lie beside its JSON."""
    parts = [paragraph(result.get("primary", {}).get("words", "")), warnings(result.get("warnings", []))]
    for path in (folder / "tables" / f"{name}.csv" for name in ("summary", "sensitivity", "comparisons")):
        if path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                head, *rows = csv.reader(file)
            parts.append(_without_constants(head, rows, path.stem.capitalize()))
    for path in sorted((folder / "plots").glob("*.png")):
        name, _, kind = path.stem.rpartition("_")
        parts.append(
            figure(path, _STUDY_PLOTS.get(kind, path.stem).format(f"the set {name}"), plot=kind == "confusion")
        )
    parts.append(warnings([f"Left out: {line}" for line in result.get("skipped", [])]))
    return section("Does it help a grader?", *parts)


def _without_constants(head: list[str], rows: list[list[str]], caption: str) -> str:
    """A table; a set or grader that all rows share stands in the caption instead."""
    values = {name: {row[i] for row in rows} for i, name in enumerate(head) if name in ("set", "grader")}
    same = {name: next(iter(of)) for name, of in values.items() if len(of) == 1}
    kept = [i for i, name in enumerate(head) if name not in same]
    caption += f" ({', '.join(f'{name} {value}' for name, value in same.items())})" if same else ""
    return table([head[i] for i in kept], [[row[i] for i in kept] for row in rows], caption)


_FIGURES = ["space", "images", "n", "ratio below 0.5", "median ratio", "authentic", "C_T", "cells tested"]
_FIGURES += ["C_T of cells"]
_TESTS = ["space", "question", "found", "expected if nothing is copied", "p, corrected"]


def audit_section(result: Result, folder: Path) -> str:
    """Verdict and rule, tests, figures, plot and closest pairs of `audit`."""
    data, spaces = result["data"], result["spaces"]
    told = (
        f"{data['n_generated']} images against {data['n_train']} training photographs and {data['n_holdout']} held "
        f"out. {_named(result['extractor'])}; pixel space: luminance and colour at 32 x 32, with flips and shifts."
    )
    caption = "Closest pairs in {}: generated, nearest training photograph, nearest photograph held out."
    notes = {found["data_copying"]["note"] for found in spaces.values()} - {""}
    return section(
        "Copying audit",
        *map(paragraph, [*result["verdict"]["sentences"], f"The rule: {result['rule']}", told]),
        table(_TESTS, [row for name in spaces for row in _audit_tests(name, spaces[name])], "Tests"),
        table(_FIGURES, [row for name in spaces for row in _audit_figures(name, spaces[name])], "Figures"),
        *map(paragraph, sorted(notes)),
        figure(audit_plot(spaces), "Shares of generated images and of photographs held out.", plot=True),
        *(picture(folder, name, caption.format(space)) for space, name in result["pictures"].items()),
        warnings(result["limits"]),
    )


def _audit_tests(space: str, found: Result) -> list[list[Cell]]:
    near, smallest, mean = (found["tests"][name] for name in ("near", "smallest", "mean"))
    return [
        [space, "near images", found["generated"]["near"], near["expected"], near["p_value"]],
        [space, "smallest ratio", smallest["ratio"], f"not below {number(smallest['threshold'])}", smallest["p_value"]],
        [space, "mean ratio", mean["ratio"], mean["expected"], mean["p_value"]],
    ]


def _audit_figures(space: str, found: Result) -> list[list[Cell]]:
    copying = found["data_copying"]
    cells = {"generated": sum(z is not None for z in copying["cell_z"]), "holdout": copying["holdout_cells"]}
    of_cells = {"generated": ", ".join(map(number, copying["cell_z"])), "holdout": None}
    names = ("n", "near_share", "ratio_median", "authentic_share")
    return [
        [space, kind, *(found[kind][name] for name in names), copying[kind], cells[kind], of_cells[kind]]
        for kind in ("generated", "holdout")
    ]


def _metric_table(metrics: list[Result]) -> str:
    rows: list[list[Cell]] = []
    for m in metrics:
        value = m["value"] if m.get("p_value") is None else f"{number(m['value'])} (p = {number(m['p_value'])})"
        better = "lower" if m["name"] in ("fid", "kid", "swd") else "nearer to real against real"
        row: list[Cell] = [m["name"], better, value, m["floor"], m["value_at_floor_n"], m["ratio_to_floor"]]
        rows.append([*row, m["floor_n"], *_counted(m)])
    head = ["figure", "better", "value", "real against real", "at equal n", "ratio", "n of floor", *COUNTED]
    return table(head, rows, "All grades")


COUNTED = ("n", "extractor", "d")


def _counted(metric: Result) -> list[Cell]:
    extractor = f"{metric['extractor']} {metric['extractor_sha256'][:8]}".strip()
    return [f"{metric['n_real']} / {metric['n_generated']}", extractor, metric["dimension"]]


def _grade_table(per_grade: Result) -> str:
    """One row a grade: n, extractor, and each figure with its floor and ratio."""
    figured = {grade: found for grade, found in per_grade.items() if "skipped" not in found}
    lines = [f"grade {grade}: {w}" for grade, found in figured.items() for m in found.values() for w in m["warnings"]]
    lines += [f"grade {grade}: {found['skipped']}" for grade, found in per_grade.items() if "skipped" in found]
    names = list(next(iter(figured.values()), {}))
    rows: list[list[Cell]] = []
    for grade, found in figured.items():
        figures = ([number(found[name][key]) for key in ("value", "floor", "ratio_to_floor")] for name in names)
        rows.append([grade, *_counted(found[names[0]]), *map("; ".join, figures)])
    caption = "By grade: value; real against real; ratio at equal n."
    if "swd" in names:
        caption += " SWD takes no extractor but 7x7 patches (d = 147), and as many images of each kind as of the rarer."
    return warnings(_merged(lines)) + (table(["grade", *COUNTED, *names], rows, caption) if rows else "")


def _diversity(found: Result) -> str:
    rows: list[list[Cell]] = []
    for name, entry in found.items():
        if "skipped" not in entry:
            generated, real = entry["generated"], entry["real"]
            network = f"{entry.get('network')} {entry.get('network_sha256', '')[:8]}"
            named: list[Cell] = [name, f"window {entry['window']}" if "window" in entry else network]
            rows.append([*named, generated["mean"], real["mean"], sum(generated["pairs"].values()), entry["reading"]])
    head = ["figure", "with", "generated", "photographs", "pairs", "reading"]
    skipped = [f"{n} diversity was left out: {e['skipped']}." for n, e in found.items() if "skipped" in e]
    return (table(head, rows, "Diversity within a grade") if rows else "") + "".join(map(paragraph, skipped))


def _named(extractor: Result) -> str:
    sha256 = extractor["sha256"][:12] or "none"
    return f"Extractor {extractor['name']} (sha256 {sha256}, d = {extractor['dimension']})"


def _merged(lines: list[str]) -> list[str]:
    """One line for a warning that several figures share."""
    by_text: dict[str, list[str]] = {}
    for line in sorted(set(lines)):
        name, text = line.split(": ", 1)
        by_text.setdefault(text, []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in by_text.items()]
