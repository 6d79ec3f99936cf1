"""Plots of a report, as PNG bytes, drawn without a display."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

Curves = dict[str, tuple[list[float], list[float]]]
"""Steps and values by the name of a curve."""


def read_training(path: str | Path) -> Curves:
    """Scalars of a TensorBoard file or folder, or columns of a CSV log whose first column counts the steps.

    Raises:
        ValueError: if there is no scalar in it, or a CSV cell is no number.
    """
    source = Path(path)
    curves = _read_csv(source) if source.suffix.lower() == ".csv" else _read_tensorboard(source)
    if not curves:
        raise ValueError(f"--training {path}: no scalars found; give a TensorBoard folder or file, or a CSV log")
    return curves


def training_plot(curves: Curves) -> bytes:
    """All curves by step, one small plot each."""
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (name, (steps, values)) in zip(panels, sorted(curves.items()), strict=False):
        axes.plot(steps, values, linewidth=1.2)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=8)
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    return _png(figure)


def audit_plot(spaces: Mapping[str, Any]) -> bytes:
    """Shares of near and of authentic images, of generated ones beside photographs held out, in each space."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    for axes, key, title in zip(
        figure.subplots(1, 2),
        ("near_share", "authentic_share"),
        ("near a training photograph", "authentic"),
        strict=True,
    ):
        _bars(axes, {kind: [spaces[s][kind][key] for s in spaces] for kind in ("generated", "holdout")}, list(spaces))
        axes.set_title(f"share of images that are {title}", fontsize=9)
    return _png(figure)


def agreement_plot(check: Mapping[str, Any]) -> bytes:
    """Agreement of graders by grade, with intervals, on generated images and on photographs."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    for offset, (kind, colour) in zip((-0.12, 0.12), (("generated", "tab:orange"), ("real", "tab:blue")), strict=True):
        found = check[kind]["agreement_per_grade"]
        for grade, (value, low, high) in enumerate(zip(found["value"], found["low"], found["high"], strict=True)):
            if value is not None:
                axes.plot([grade + offset], [value], "o", color=colour, label=kind)
            if low is not None and high is not None:
                axes.plot([grade + offset] * 2, [low, high], color=colour)
    handles, labels = axes.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    axes.legend(named.values(), named.keys(), fontsize=8)
    axes.set(xlabel="grade", ylabel="agreement, 95 % interval", ylim=(-0.03, 1.03), xticks=range(5))
    return _png(figure)


def _bars(axes: Any, groups: Mapping[str, Sequence[float]], labels: Sequence[str]) -> None:
    for i, (name, values) in enumerate(groups.items()):
        bars = axes.bar([x + 0.4 * i for x in range(len(values))], values, width=0.38, label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=8)
    axes.set_xticks([x + 0.2 for x in range(len(labels))], labels)
    axes.set_ylim(0, 1.1)
    axes.legend(fontsize=8)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _read_csv(path: Path) -> Curves:
    with open(path, newline="", encoding="utf-8-sig") as file:
        head, *rows = list(csv.reader(file)) or [[]]
    curves: Curves = {}
    for column, name in enumerate(head[1:], 1):
        try:
            points = [(float(row[0]), float(row[column])) for row in rows if len(row) > column and row[column].strip()]
        except ValueError as error:
            raise ValueError(f"--training {path}: column {name!r}: {error}") from error
        if points:
            curves[name] = ([step for step, _ in points], [value for _, value in points])
    return curves


def _read_tensorboard(path: Path) -> Curves:
    # takes seconds to import, and only this needs it
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not path.exists():
        raise ValueError(f"--training {path}: no such file or folder")
    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    events.Reload()
    found = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    return {tag: ([float(e.step) for e in points], [e.value for e in points]) for tag, points in found.items()}
