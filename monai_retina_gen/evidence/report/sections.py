"""Sections of a report: each from the JSON that another command wrote, with the pictures beside it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from monai_retina_gen.evidence.report.html import Cell, figure, paragraph, picture, section, table, warnings
from monai_retina_gen.evidence.report.plots import agreement_plot

Result = dict[str, Any]
_BETTER = {"fid": "lower", "kid": "lower", "swd": "lower"}


def evaluation_section(result: Result, folder: Path) -> list[str]:
    """Figures of `evaluate`, its grids, and best and worst by realism."""
    generator, extractor, data = result["generator"], result["extractor"], result["data"]
    told = (
        f"{data['n_generated']} samples of {generator['name']} {generator['version']} (weights "
        f"{generator['weights_sha256'][:12] or 'not from a file'}) against {data['n_real']} photographs, "
        f"at {data['image_size']} pixels. "
        f"Extractor {extractor['name']} (sha256 {extractor['sha256'][:12] or 'none'}, d = {extractor['dimension']}). "
        f"Preparation: {data['preparation']}."
    )
    metrics = [*result["metrics"].values(), result["sliced_wasserstein"]]
    lines = sorted({f"{m['name']}: {w}" for m in metrics for w in m["warnings"]})
    parts = [paragraph(told), warnings(_merged(lines)), _metric_table(metrics, "All grades")]
    parts.append(_grade_table(result["per_grade"]))
    parts.append(_diversity(result["diversity"]))
    grades = ", ".join(data["real_grades"])
    pictures = [
        ("grades", f"Grades {grades} from the top: photographs at the left, generated images at the right."),
        ("best", "Samples with the highest realism score."),
        ("worst", "Samples with the lowest realism score."),
    ]
    realism = result["realism"]
    parts.append(
        paragraph(
            f"Realism score (1 and more: within the photographs' manifold) of n = {realism['n']} samples: median "
            f"{_shown(realism['median'])}, at least 1 for {realism['share_at_least_1']:.0%}."
        )
    )
    parts += [picture(folder, result["pictures"].get(name), caption) for name, caption in pictures]
    return [section("Image quality", *parts)]


def label_check_section(result: Result, folder: Path) -> list[str]:
    """Agreement of graders with the grades that were asked for."""
    rows: list[list[Cell]] = []
    for grader in [*result["graders"], {"name": "all, pooled", "sha256": "", **result}]:
        for kind in ("generated", "real"):
            found = grader[kind]
            values = zip(found["agreement_per_grade"]["value"], found["per_grade_n"], strict=True)
            per_grade = [f"{_shown(value)} (n = {n})" for value, n in values]
            kappa, agreement = _interval(found["kappa"]), _interval(found["agreement"])
            named: list[Cell] = [grader["name"], grader["sha256"][:12], kind, found["agreement"]["n"]]
            rows.append([*named, agreement, kappa, *per_grade])
    head = ["grader", "sha256", "images", "n", "agreement", "kappa", *(f"grade {g}" for g in range(5))]
    plot = figure(agreement_plot(result), "Agreement with the grade asked for, beside that on photographs.", plot=True)
    return [section("Label check", warnings(result["warnings"]), table(head, rows), plot)]


def reader_section(result: Result, folder: Path) -> list[str]:
    """Scores of a reader study."""
    told = (
        f"{result['n_readers']} readers, {result['n_images']} images, {result['n_generated']} of them generated. "
        f"Naming the commoner class always gives an accuracy of {result['chance_accuracy']:.2f}. Generated is the "
        "positive class."
    )
    rows = [[name.replace("_", ", "), _interval(found)] for name, found in result["figures"].items()]
    return [section("Reader study", paragraph(told), table(["figure", "value, 95 % interval"], rows))]


def study_section(result: Result, folder: Path) -> list[str]:
    """Verdict, tables and plots of `study`, as they lie beside its JSON."""
    parts = [paragraph(result.get("primary", {}).get("words", "")), warnings(result.get("warnings", []))]
    for path in (folder / "tables" / f"{name}.csv" for name in ("summary", "sensitivity", "comparisons")):
        if path.is_file():
            with open(path, newline="", encoding="utf-8") as file:
                head, *rows = csv.reader(file)
            parts.append(table(head, rows, path.stem.capitalize()))
    parts += [figure(path, _study_caption(path.stem), plot=True) for path in sorted((folder / "plots").glob("*.png"))]
    parts.append(warnings([f"Left out: {line}" for line in result.get("skipped", [])]))
    return [section("Does it help a grader?", *parts)]


_STUDY_PLOTS = {
    "confusion": "Confusion matrices of each arm and grader on {}: true grades in rows, predicted grades in columns.",
    "differences": "Differences of kappa between arms on {}, with intervals: right of 0 the first is better.",
    "figures": "Accuracy and kappa of each arm and grader on {}, with intervals.",
    "validation": "Mean kappa on the validation photographs by epoch, one curve an arm.",
}


def _study_caption(stem: str) -> str:
    name, _, kind = stem.rpartition("_")
    return _STUDY_PLOTS.get(kind, stem).format(f"the set {name}")


def _metric_table(metrics: list[Result], caption: str) -> str:
    head = ["figure", "better", "value", "real against real", "at equal n", "ratio", "n of floor", "n"]
    head += ["extractor", "d"]
    rows: list[list[Cell]] = []
    for m in metrics:
        value = f"{_shown(m['value'])} (p = {_shown(m['p_value'])})" if m.get("p_value") is not None else m["value"]
        counts = f"{m['n_real']} / {m['n_generated']}"
        extractor = f"{m['extractor']} {m['extractor_sha256'][:8]}".strip()
        better = _BETTER.get(m["name"], "nearer to real against real")
        row: list[Cell] = [m["name"], better, value, m["floor"], m["value_at_floor_n"], m["ratio_to_floor"]]
        rows.append([*row, m["floor_n"], counts, extractor, m["dimension"]])
    return table(head, rows, caption)


def _grade_table(per_grade: Result) -> str:
    """One row a grade: n, extractor, and each figure with its floor and ratio."""
    if not per_grade:
        return ""
    figured = {grade: found for grade, found in per_grade.items() if "skipped" not in found}
    lines = [f"grade {grade}: {w}" for grade, found in figured.items() for m in found.values() for w in m["warnings"]]
    skipped = [f"grade {grade}: {found['skipped']}" for grade, found in per_grade.items() if "skipped" in found]
    names = list(next(iter(figured.values()), {}))
    rows: list[list[Cell]] = []
    for grade, found in figured.items():
        first = found[names[0]]
        extractor = f"{first['extractor']} {first['extractor_sha256'][:8]}".strip()
        named: list[Cell] = [grade, f"{first['n_real']} / {first['n_generated']}", extractor, first["dimension"]]
        rows.append([*named, *(_with_floor(found[name]) for name in names)])
    caption = "By grade: value; real against real; ratio at equal n."
    if "swd" in names:
        caption += " SWD takes no extractor but 7x7 patches (d = 147), and as many images of each kind as of the rarer."
    made = table(["grade", "n", "extractor", "d", *names], rows, caption) if rows else ""
    return warnings(_merged(sorted({*lines, *skipped}))) + made


def _with_floor(m: Result) -> str:
    return "; ".join(_shown(m[key]) for key in ("value", "floor", "ratio_to_floor"))


def _diversity(found: Result) -> str:
    rows: list[list[Cell]] = []
    skipped = []
    for name, entry in found.items():
        if "skipped" in entry:
            skipped.append(f"{name} diversity was left out: {entry['skipped']}.")
        else:
            pairs = sum(entry["generated"]["pairs"].values())
            with_what = (
                f"window {entry['window']}"
                if "window" in entry
                else f"{entry['network']} {entry['network_sha256'][:8]}"
            )
            rows.append([name, with_what, entry["generated"]["mean"], entry["real"]["mean"], pairs, entry["reading"]])
    head = ["figure", "with", "generated", "photographs", "pairs", "reading"]
    made = table(head, rows, "Diversity within a grade") if rows else ""
    return made + "".join(map(paragraph, skipped))


def _merged(lines: list[str]) -> list[str]:
    """One line for a warning that several figures share."""
    by_text: dict[str, list[str]] = {}
    for line in lines:
        name, text = line.split(": ", 1)
        by_text.setdefault(text, []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in by_text.items()]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _interval(found: Result) -> str:
    ends = "" if found["low"] is None else f" [{_shown(found['low'])}, {_shown(found['high'])}]"
    return _shown(found["value"]) + ends
