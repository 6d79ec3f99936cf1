"""Plot of an alpha study: accuracy, label flips, lesion area and change outside, against the strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["draw_alpha_study"]

PANELS = {
    "accuracy": "accuracy of the graders",
    "flips": "share of labels that flip",
    "area_change": "change of the lesion's area",
    "outside": "LPIPS_DR outside the lesions",
}


def draw_alpha_study(figures: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write one panel a figure, one line a lesion; rates with their 95 % interval.

    Args:
        figures: what `alpha_study.summarise` gives.
        path: the PNG file.
    """
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for lesion in dict.fromkeys(f["lesion"] for f in figures):
            own = [f for f in figures if f["lesion"] == lesion and f[key] is not None]
            strengths = [f["strength"] for f in own]
            if own and isinstance(own[0][key], Mapping):
                axes.plot(strengths, [f[key]["rate"] for f in own], marker="o", label=lesion)
                axes.fill_between(strengths, [f[key]["low"] for f in own], [f[key]["high"] for f in own], alpha=0.15)
            else:
                axes.plot(strengths, [f[key] for f in own], marker="o", label=lesion)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("strength")
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    FigureCanvasAgg(figure)  # draws without a display and leaves the user's pyplot alone
    figure.savefig(path, dpi=110, metadata={"Software": None})
