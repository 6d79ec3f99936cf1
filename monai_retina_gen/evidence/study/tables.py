"""Tables of a study (a summary, and the published evaluations' own forms) as CSV and Markdown, and its plots."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from monai_retina_gen.evidence.report.html import interval_text, markdown_table
from monai_retina_gen.evidence.report.pictures import panel_grid, save_plot

from .arms import GENERATIVE

REFERABLE = ("referable_sensitivity", "referable_specificity")
Study = dict[str, Any]
Row = dict[str, Any]
Table = list[list[str]]
FIGURES = ("accuracy", "kappa")
NARROW = 5.5
"""Width of plots in inches that are read without scrolling on a phone."""


def write_tables(study: Study, folder: Path) -> None:
    """Write `tables/<name>.csv` and `tables/<name>.md`."""
    target = folder / "tables"
    target.mkdir(exist_ok=True)
    tables = {"summary": _summary(study), "sensitivity": _sensitivity(study), "comparisons": _comparisons(study)}
    test = study["sets"]["test"]
    tables |= {name: make(study, test) for name, make in PUBLISHED.items()}
    tables |= {f"confusion_{row['condition']}_{row['grader']}": _confusion(row) for row in test}
    for name, table in tables.items():
        with open(target / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(table)
        (target / f"{name}.md").write_text(markdown_table(table[0], table[1:]) + "\n", encoding="utf-8")


def _summary(study: Study) -> Table:
    referable = [name for name in REFERABLE if name in next(iter(study["sets"].values()))[0]]
    head = ["set", "arm", "grader", "n", "trained", "kappa", "kappa - oversample", "accuracy", "accuracy - oversample"]
    table = [[*head, *(name.replace("_", " ") for name in referable)]]
    for name, rows in study["sets"].items():
        for row in rows:
            difference = row.get("difference", {})
            cells = [name, row["condition"], row["grader"], str(row["n"]), str(row["graders_trained"])]
            for figure in ("kappa", "accuracy"):
                cells += [interval_text(row[figure]), interval_text(difference[figure], "+") if difference else ""]
            table.append([*cells, *(interval_text(row[name]) for name in referable)])
    return table


def _sensitivity(study: Study) -> Table:
    """Of every grade."""
    table = [["set", "arm", "grader", *_grades(study)]]
    for name, rows in study["sets"].items():
        for row in rows:
            of = {key: values for key, values in row["sensitivity"].items() if isinstance(values, list)}
            cells = (interval_text(dict(zip(of, each, strict=True))) for each in zip(*of.values(), strict=True))
            table.append([name, row["condition"], row["grader"], *cells])
    return table


def _comparisons(study: Study) -> Table:
    table = [["set", "comparison", "difference of kappa", "p", "p (Holm)", "detectable", "verdict"]]
    for name, comparisons in study["comparisons"].items():
        for c in comparisons:
            title = f"{c['a']} - {c['b']}" + (" (primary)" if c["primary"] else "")
            p_holm = "" if c["primary"] else _number(c["p_holm"])
            kappa = c["kappa"]
            cells = [interval_text(kappa, "+"), _number(kappa["p"]), p_holm, _number(kappa["detectable"]), c["verdict"]]
            table.append([name, title, *cells])
    return table


def _zhao_table_2(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy by augmentation: of every grade (its sensitivity) and of all, for each grader."""
    figures = [[*row["sensitivity"]["value"], row["accuracy"]["value"]] for row in rows]
    return [["augmentation", "grader", *_grades(study), "ALL"], *_named(rows, figures)]


def _drgan_table_3(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy and kappa by grader: trained on real and tested on fake, trained on real, trained on both."""
    best = _best_generative(study)
    pairs = ["Tr-Real Te-Fake", "Tr-Real Te-Real", f"Tr-Real & Fake Te-Real ({best or 'none'})"]
    table = [["backbone", *(f"{pair} {figure}" for pair in pairs for figure in ("acc.", "kappa"))]]
    for grader, of in _by_grader(rows).items():
        fake = study["te_fake"].get(grader, {}).get(best.split("--")[1] if best else "", {})
        cells = [_number(fake.get(figure)) for figure in ("accuracy", "kappa")]
        for condition in ("none", best):
            cells += [_number(of[condition][f]["value"]) if condition in of else "" for f in ("accuracy", "kappa")]
        table.append([grader, *cells])
    return table


def _drgan_table_4(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy and kappa by setting; here the arms, which separate what the modules of the paper separate."""
    figures = [[row[figure]["value"] for figure in ("accuracy", "kappa")] for row in rows]
    return [["setting", "grader", "acc.", "kappa"], *_named(rows, figures)]


def _drgan_table_5(study: Study, rows: Sequence[Row]) -> Table:
    """True-positive rate by grade, trained on real and on real and fake."""
    conditions = ("none", "oversample", _best_generative(study))
    columns = {f"{g}, {c}": of[c] for g, of in _by_grader(rows).items() for c in conditions if c in of}
    rates = zip(*(row["sensitivity"]["value"] for row in columns.values()), strict=True)
    return [["grade", *columns], *([str(grade), *map(_number, of)] for grade, of in enumerate(rates))]


def _cheng_table_1(study: Study, rows: Sequence[Row]) -> Table:
    """Accuracy by augmentation, a column for each grader."""
    table, graders = [["augmentation", *_by_grader(rows)]], _by_grader(rows).values()
    for condition in dict.fromkeys(row["condition"] for row in rows):
        accuracies = [of[condition]["accuracy"]["value"] for of in graders if condition in of]
        table.append([condition, *(f"{100 * accuracy:.2f}%" for accuracy in accuracies)])
    return table


PUBLISHED: dict[str, Callable[[Study, Sequence[Row]], Table]] = {
    "zhao2023_table2": _zhao_table_2,
    "drgan_table3": _drgan_table_3,
    "drgan_table4": _drgan_table_4,
    "drgan_table5": _drgan_table_5,
    "cheng2021_table1": _cheng_table_1,
}


def _confusion(row: Row) -> Table:
    counts = row["confusion"]
    head = ["true \\ predicted", *map(str, range(len(counts)))]
    return [head, *([str(label), *map(str, line)] for label, line in enumerate(counts))]


def _best_generative(study: Study) -> str:
    kappas = {c: k for c, k in study["validation_kappa"].items() if c.split("--")[0] in GENERATIVE}
    return max(kappas, key=kappas.__getitem__) if kappas else ""


def _grades(study: Study) -> list[str]:
    return [f"grade {g}" for g in range(len(study["sets"]["test"][0]["confusion"]))]


def _by_grader(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Rows by grader and condition."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["grader"], {})[row["condition"]] = row
    return found


def _named(rows: Sequence[Row], figures: Sequence[Sequence[float | None]]) -> Table:
    """Rows of figures after condition and grader."""
    return [[r["condition"], r["grader"], *map(_number, of)] for r, of in zip(rows, figures, strict=True)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def draw_plots(study: dict[str, Any], folder: Path) -> None:
    """Write `plots/<set>_figures.png`, `<set>_differences.png`, `<set>_confusion.png` and `validation.png`."""
    plots = {"validation": _validation(study["runs"])}
    for name, rows in study["sets"].items():
        stem = "".join(c if c.isalnum() else "_" for c in name)
        plots |= {f"{stem}_figures": _figures(rows, name), f"{stem}_confusion": _confusions(rows, name)}
        if study["comparisons"][name]:
            plots[f"{stem}_differences"] = _differences(study["comparisons"][name], name)
    (folder / "plots").mkdir(exist_ok=True)
    for name, plot in plots.items():
        save_plot(plot, folder / "plots" / f"{name}.png", dpi=120)


def _figures(rows: Sequence[dict[str, Any]], name: str) -> Figure:
    figure = Figure(figsize=(NARROW, 1 + len(FIGURES) * (0.6 + 0.45 * len(rows))), layout="constrained")
    labels = [f"{_title(row['condition'])}, {row['grader']}" for row in rows]
    for axes, key in zip(figure.subplots(len(FIGURES), 1), FIGURES, strict=True):
        _intervals(axes, [row[key] for row in rows], labels)
        axes.set_xlabel(f"{key} on {name}, 95 % interval")
    return figure


def _differences(comparisons: Sequence[dict[str, Any]], name: str) -> Figure:
    figure = Figure(figsize=(NARROW, 1 + 0.5 * len(comparisons)), layout="constrained")
    axes = figure.subplots()
    labels = [f"{_title(c['a'])} - {_title(c['b'])}{', primary' * c['primary']}" for c in comparisons]
    axes.axvline(0, color="grey", linewidth=1)
    _intervals(axes, [comparison["kappa"] for comparison in comparisons], labels)
    axes.set_xlabel(f"difference of kappa on {name}, 95 % interval (uncorrected)")
    return figure


def _title(condition: str) -> str:
    arm, *rest = condition.split("--")
    return f"{arm} ({', '.join(rest)})" if rest else arm


def _intervals(axes: Any, figures: Sequence[dict[str, Any]], labels: Sequence[str]) -> None:
    """A line a figure, first at the top, its label above it: names are long, and a phone is narrow."""
    for position, (figure, label) in enumerate(zip(figures, labels, strict=True)):
        if figure["value"] is not None:
            axes.plot([figure["value"]], [position], "o", color="tab:blue")
        if figure["low"] is not None:
            axes.plot([figure["low"], figure["high"]], [position, position], color="tab:blue")
        axes.text(0.01, position - 0.2, label, transform=axes.get_yaxis_transform(), fontsize=8, va="bottom")
    axes.set_ylim(len(labels) - 0.6, -0.8)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x", alpha=0.3)


def _confusions(rows: Sequence[dict[str, Any]], name: str) -> Figure:
    figure, grid = panel_grid(len(rows), columns=3, size=(3.1, 3.6))
    for axes, row in zip(grid, rows, strict=True):
        # counts summed over trainings, coloured by the share of each true grade
        shares = [[value / max(sum(line), 1) for value in line] for line in row["confusion"]]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for true, line in enumerate(row["confusion"]):
            for predicted, value in enumerate(line):
                colour = "white" if value > sum(line) / 2 else "black"
                axes.text(predicted, true, value, ha="center", va="center", fontsize=7, color=colour)
        axes.set_xlabel("predicted", fontsize=8)
        axes.set_ylabel("true", fontsize=8)
        axes.set_title(f"{_title(row['condition'])}\n{row['grader']}, {name}", fontsize=8)
    return figure


def _validation(runs: Sequence[dict[str, Any]]) -> Figure:
    """Kappa on validation by epoch, mean over the runs of a condition."""
    figure = Figure(figsize=(NARROW, 3.5), layout="constrained")
    axes = figure.subplots()
    curves: dict[str, list[list[float | None]]] = {}
    for run in runs:
        condition = run["run"]["id"].split(f"--{run['run']['grader']}--seed")[0]
        curves.setdefault(condition, []).append(run["validation_kappa_by_epoch"])
    for condition, kappas in curves.items():
        looked = [epoch for epoch, found in enumerate(zip(*kappas, strict=True)) if None not in found]
        means = [sum(run[epoch] or 0.0 for run in kappas) / len(kappas) for epoch in looked]
        axes.plot([epoch + 1 for epoch in looked], means, marker=".", label=_title(condition))
    axes.set_xlabel("epoch")
    axes.set_ylabel("kappa on validation, mean")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=7)
    return figure
