"""Pictures for reports (rows of images, strips, pairs) and plots as PNG bytes, drawn without a display."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from monai_retina_gen.data.sampling import spread
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.handlers import image_grid
from monai_retina_gen.networks.inputs import resized

TILE, GAP, MARGIN = 128, 4, 150


def strip(images: ImageSet, tile: int = TILE) -> Tensor:
    """Images side by side, `(3, tile, n * tile)`."""
    return image_grid(resized(images.floats(), min(tile, images.size)), len(images))


def grade_rows(real: ImageSet, generated: ImageSet, columns: int = 4, tile: int = TILE) -> Tensor:
    """One row a grade: `columns` photographs, a white gap, as many generated images; white where there are fewer."""
    rows = []
    for grade in sorted(set(real.grades) | set(generated.grades)):
        own = [[i for i, g in enumerate(images.grades) if g == grade] for images in (real, generated)]
        halves = [_row(images.floats(rows), columns, tile) for images, rows in zip((real, generated), own, strict=True)]
        rows.append(torch.cat([halves[0], torch.ones(3, tile, GAP), halves[1]], dim=2))
    return torch.cat(rows, dim=1)


def rows_of(columns: Sequence[Tensor], tile: int = TILE) -> Tensor:
    """Pictures `(N, 3, S, S)` of each column beside each other: N rows, with white between the columns."""
    parts: list[Tensor] = []
    for images in columns:
        column = image_grid(resized(images, tile), 1)
        parts += [column, torch.ones(3, column.shape[1], GAP)]
    return torch.cat(parts[:-1], dim=2)


def labelled_rows(rows: Sequence[tuple[str, Tensor]], *, columns: int = 10, tile: int = 96) -> Tensor:
    """Rows of images `(n, 3, S, S)` in [0, 1], an even choice of at most `columns`, with words at their left.

    Examples:
        >>> labelled_rows([("grade 0", torch.rand(3, 3, 8, 8)), ("none", torch.rand(0, 3, 8, 8))], columns=4).shape
        torch.Size([3, 192, 534])
    """
    return torch.cat([torch.cat([_words(words, tile), _row(images, columns, tile)], 2) for words, images in rows], 1)


def _row(images: Tensor, columns: int, tile: int) -> Tensor:
    row = torch.ones(columns, 3, tile, tile)
    if len(images):
        chosen = images[spread(len(images), columns)]
        row[: len(chosen)] = resized(chosen, tile)
    return image_grid(row, columns)


def _words(words: str, tile: int) -> Tensor:
    page = Image.new("RGB", (MARGIN, tile), "white")
    ImageDraw.Draw(page).multiline_text((6, 6), words, fill="black")
    return torch.from_numpy(np.array(page)).permute(2, 0, 1).float() / 255


Curves = dict[str, tuple[list[float], list[float]]]
"""Steps and values by the name of a curve."""


def read_training(path: str | Path) -> Curves:
    """Scalars of a TensorBoard file or folder, or columns of a CSV log whose first column counts the steps."""
    source = Path(path)
    curves = _read_csv(source) if source.suffix.lower() == ".csv" else _read_tensorboard(source)
    if not curves:
        raise ValueError(f"--training {path}: no scalars found; give a TensorBoard folder or file, or a CSV log")
    return curves


def training_plot(curves: Curves) -> bytes:
    """All curves by step, one small plot each."""
    figure, panels = panel_grid(len(curves), columns=3, size=(4, 2.6))
    for axes, (name, (steps, values)) in zip(panels, sorted(curves.items()), strict=True):
        axes.plot(steps, values, linewidth=1.2)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=8)
    return _png(figure)


def panel_grid(count: int, *, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Any]]:
    """A figure with `count` axes of a size in inches, at most so many beside each other."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, list(panels[:count])


def save_plot(figure: Figure, target: Any, *, dpi: int = 110) -> None:
    """Write a figure as PNG; equal figures give equal bytes."""
    figure.savefig(target, format="png", dpi=dpi, metadata={"Software": None})


def audit_plot(spaces: Mapping[str, Any]) -> bytes:
    """Shares of near and of authentic images, of generated ones beside photographs held out, in each space."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    titles = {"near_share": "near a training photograph", "authentic_share": "authentic"}
    for axes, (key, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for i, kind in enumerate(("generated", "holdout")):
            values = [spaces[space][kind][key] for space in spaces]
            bars = axes.bar([x + 0.4 * i for x in range(len(values))], values, width=0.38, label=kind)
            axes.bar_label(bars, fmt="%.2f", fontsize=8)
        axes.set_xticks([x + 0.2 for x in range(len(spaces))], list(spaces))
        axes.set_ylim(0, 1.1)
        axes.legend(fontsize=8)
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


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    save_plot(figure, buffer)
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
