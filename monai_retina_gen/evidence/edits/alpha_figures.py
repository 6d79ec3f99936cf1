"""Figures of an alpha study: a summary, its table, and its plot against the strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from scipy.stats import binomtest

__all__ = ["alpha_table", "draw_alpha_study", "summarise"]

PANELS = {
    "accuracy": "accuracy of the graders",
    "flips": "share of labels that flip",
    "area_change": "change of the lesion's area",
    "outside": "LPIPS_DR outside the lesions",
}


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Figures by lesion and strength: means over photographs, with Wilson's 95 % interval for rates.

    Examples:
        >>> row = {"lesion": "ex", "asked": 0.5, "grade": 3, "predicted": 3, "flipped": False, "refused": "",
        ...        "strength": 0.5, "probability": 0.9, "area": None, "outside": None}
        >>> summarise([row])[0]["accuracy"]["rate"]
        1.0
    """
    found = []
    for lesion, asked in sorted({(row["lesion"], row["asked"]) for row in rows}):
        own = [row for row in rows if (row["lesion"], row["asked"]) == (lesion, asked)]
        base = {row.get("image"): row for row in rows if row["lesion"] == lesion and row["asked"] == 0}
        changes = [row["area"] - base[row.get("image")]["area"] for row in own if row["area"] is not None and base]
        areas = [base[row.get("image")]["area"] for row in own if row["area"] is not None and base]
        outside = [row["outside"] for row in own if row["outside"] is not None]
        found.append(
            {
                "lesion": lesion,
                "strength": asked,
                "n": len(own),
                "accuracy": _rate([row["predicted"] == row["grade"] for row in own]),
                "flips": _rate([bool(row["flipped"]) for row in own]),
                "accepted": _rate([not row["refused"] for row in own]),
                "mean_strength": sum(float(row["strength"]) for row in own) / len(own),
                "probability": sum(float(row["probability"]) for row in own) / len(own),
                "area_change": sum(changes) / sum(areas) if areas and sum(areas) > 0 else None,
                "outside": sum(outside) / len(outside) if outside else None,
                "reasons": _reasons([str(row["refused"]) for row in own]),
            }
        )
    return found


def _rate(values: Sequence[bool]) -> dict[str, float]:
    low, high = binomtest(sum(values), len(values)).proportion_ci(method="wilson")
    return {"rate": sum(values) / len(values), "low": float(low), "high": float(high)}


def _reasons(reasons: Sequence[str]) -> dict[str, int]:
    """How often each kind of refusal occurs; figures in the text are left out."""
    kinds = ["".join(c for c in reason.split(",")[0] if not c.isdigit()) for reason in reasons if reason]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def alpha_table(figures: Sequence[Mapping[str, Any]]) -> str:
    """What `summarise` gives, as text: a line a lesion and strength."""
    lines = ["lesion | strength | n | accuracy | flips | accepted | area change | outside"]
    for f in figures:
        area, outside = (("" if f[k] is None else f"{f[k]:+.3f}") for k in ("area_change", "outside"))
        rates = " | ".join(f"{f[key]['rate']:.3f}" for key in ("accuracy", "flips", "accepted"))
        lines.append(f"{f['lesion']} | {f['strength']:+.2f} | {f['n']} | {rates} | {area} | {outside}")
    return "\n".join(lines)


def draw_alpha_study(figures: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write what `summarise` gives as PNG: one panel a figure, one line a lesion; rates with their 95 % interval."""
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
    figure.savefig(path, dpi=110, metadata={"Software": None})
