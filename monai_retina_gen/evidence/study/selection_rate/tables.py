"""The outcome of a selection-rate study as tables like Kim et al.'s Tables I and II, and as one sheet of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_retina_gen.data import write_image
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.evidence.report.markdown import markdown_table
from monai_retina_gen.evidence.report.pictures import labelled_rows
from monai_retina_gen.evidence.study.selection_rate.ranking import RANKINGS

REFERENCES = {"training": "the photographs trained on", "validation": "the validation photographs"}
COLUMNS = 10


def column_name(threshold: float) -> str:
    """Heading of a threshold, as in the paper's tables.

    Examples:
        >>> column_name(0), column_name(0.6)
        ('All (SR 0)', 'SR 60')
    """
    return "All (SR 0)" if threshold == 0 else f"SR {100 * threshold:g}"


def markdown(result: Mapping[str, Any]) -> str:
    """Tables of counts, FID and KID, with the warnings."""
    columns = result["columns"]
    parts = [f"# Selection rate: {result['trainer']['bundle']}", _counts(columns, result["classes"])]
    for reference, words in REFERENCES.items():
        parts += [_figure_table(columns, reference, name, words) for name in ("fid", "kid")]
    extractor = result["extractor"]
    parts.append(f"Features of `{extractor['name']}` ({extractor['dimension']} numbers, {extractor['sha256'][:12]}).")
    parts.append("\n".join(f"- {warning}" for warning in result["warnings"]))
    return "\n\n".join(parts) + "\n"


def _counts(columns: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    rows = [
        [name, *(str(column["photographs"].get(str(number), 0)) for column in columns)]
        for number, name in enumerate(classes)
    ]
    rows.append(["all", *(str(column["n_training"]) for column in columns)])
    return "## Photographs trained on\n\n" + markdown_table(["class", *_names(columns)], rows)


def _figure_table(columns: Sequence[Mapping[str, Any]], reference: str, name: str, words: str) -> str:
    rows = [
        [label, *(_cell(column, reference, group, name) for column in columns)]
        for group, label in _groups(columns[0]["top"]).items()
    ]
    rows.append(["floor: half against half", *(_floor(column, reference, name) for column in columns)])
    note = "In brackets: ratio to the floor at equal n." if name == "fid" else "Unbiased: 0 is no difference."
    return f"## {name.upper()} against {words}\n\n{note}\n\n" + markdown_table(["samples", *_names(columns)], rows)


def _groups(top: int) -> dict[str, str]:
    found = {"all": "All"}
    for ranking in RANKINGS:
        found |= {f"top_{ranking}": f"Top {top} by {ranking}", f"bottom_{ranking}": f"Bottom {top} by {ranking}"}
    return found


def _cell(column: Mapping[str, Any], reference: str, group: str, name: str) -> str:
    if group not in column["figures"][reference]:
        return "-"
    figure = column["figures"][reference][group][name]
    ratio = figure["ratio_to_floor"]
    return f"{figure['value']:.4g}" + (f" ({ratio:.2f})" if ratio is not None else "")


def _floor(column: Mapping[str, Any], reference: str, name: str) -> str:
    figure = column["figures"][reference].get("all", {}).get(name)
    if figure is None or figure["floor"] is None:
        return "-"
    return f"{figure['floor']:.4g} (n = {figure['floor_n']})"


def _names(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    return [column_name(column["threshold"]) for column in columns]


def write_sheet(result: Mapping[str, Any], folder: Path) -> None:
    """Write `sheet.png`: for every threshold the best and the worst by both rankings, one row each."""
    rows = []
    for column in result["columns"]:
        for group, label in _groups(column["top"]).items():
            if group != "all":
                strip = read_image(folder / column["folder"] / f"{group}.png")
                images = strip.unflatten(2, (column["top"], -1)).permute(2, 0, 1, 3)
                rows.append((f"{column_name(column['threshold'])}\n{label}", images))
    write_image(folder / "sheet.png", labelled_rows(rows, columns=max(c["top"] for c in result["columns"])))
