"""Plots of a study: figures with intervals, differences, confusion matrices, and validation by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

FIGURES = ("accuracy", "kappa")


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
        plot.savefig(folder / "plots" / f"{name}.png", dpi=120, metadata={"Software": None})


def _figures(rows: Sequence[dict[str, Any]], name: str) -> Figure:
    figure = Figure(figsize=(11, 1.2 + 0.32 * len(rows)), layout="constrained")
    labels = [f"{row['condition']}  {row['grader']}" for row in rows]
    for axes, key in zip(figure.subplots(1, len(FIGURES), sharey=True), FIGURES, strict=True):
        _intervals(axes, [row[key] for row in rows], labels)
        axes.set_xlabel(f"{key}, {name}, 95 % interval")
    axes.invert_yaxis()
    return figure


def _differences(comparisons: Sequence[dict[str, Any]], name: str) -> Figure:
    figure = Figure(figsize=(9, 1.2 + 0.32 * len(comparisons)), layout="constrained")
    axes = figure.subplots()
    labels = [f"{c['a']} - {c['b']}{' (primary)' if c['primary'] else ''}" for c in comparisons]
    _intervals(axes, [comparison["kappa"] for comparison in comparisons], labels)
    axes.axvline(0, color="grey", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel(f"difference of kappa, {name}, 95 % interval (uncorrected)")
    return figure


def _intervals(axes: Any, figures: Sequence[dict[str, Any]], labels: Sequence[str]) -> None:
    for position, figure in enumerate(figures):
        if figure["value"] is not None:
            axes.plot([figure["value"]], [position], "o", color="tab:blue")
        if figure["low"] is not None:
            axes.plot([figure["low"], figure["high"]], [position, position], color="tab:blue")
    axes.set_yticks(range(len(labels)), labels)
    axes.grid(axis="x", alpha=0.3)


def _confusions(rows: Sequence[dict[str, Any]], name: str) -> Figure:
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(3.1 * columns, 3.6 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, row in zip(grid, rows, strict=False):
        _matrix(axes, row["confusion"])
        axes.set_title(f"{row['condition']}\n{row['grader']}, {name}", fontsize=8)
    for axes in grid[len(rows) :]:
        axes.set_visible(False)
    return figure


def _matrix(axes: Any, counts: list[list[int]]) -> None:
    """Counts summed over trainings, coloured by the share of each true grade."""
    axes.imshow([[value / max(sum(line), 1) for value in line] for line in counts], cmap="Blues", vmin=0, vmax=1)
    for true, line in enumerate(counts):
        for predicted, value in enumerate(line):
            dark = value > sum(line) / 2
            axes.text(predicted, true, value, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("true", fontsize=8)


def _validation(runs: Sequence[dict[str, Any]]) -> Figure:
    """Kappa on validation by epoch, mean over the runs of a condition."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    curves: dict[str, list[list[float | None]]] = {}
    for run in runs:
        condition = run["run"]["id"].split(f"--{run['run']['grader']}--seed")[0]
        curves.setdefault(condition, []).append(run["validation_kappa_by_epoch"])
    for condition, kappas in curves.items():
        looked = [epoch for epoch, found in enumerate(zip(*kappas, strict=True)) if None not in found]
        means = [sum(run[epoch] or 0.0 for run in kappas) / len(kappas) for epoch in looked]
        axes.plot([epoch + 1 for epoch in looked], means, marker=".", label=condition)
    axes.set_xlabel("epoch")
    axes.set_ylabel("quadratic weighted kappa on validation, mean")
    axes.legend(fontsize=7)
    return figure
