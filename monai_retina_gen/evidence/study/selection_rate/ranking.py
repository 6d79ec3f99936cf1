"""Samples ranked by critic and by realism, the figures of the best and the worst, as tables and one sheet of pictures.

After Kim et al., "Fake Data Generation for Medical Image Augmentation using GANs", section III and Tables I and II,
where the top 10 and bottom 10 of 100 samples were chosen by eye.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import write_image
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.evidence.report.html import markdown_table
from monai_retina_gen.evidence.report.pictures import labelled_rows
from monai_retina_gen.metrics import evaluate_features

Critic = Callable[[Tensor, Tensor | None], Tensor]
RANKINGS = ("critic", "realism")
FIGURES = ("fid", "kid")
SMALLEST = 6
ORDERS = 8
REFERENCES = {"training": "the photographs trained on", "validation": "the validation photographs"}


@torch.no_grad()
def critic_scores(
    critic: Critic, images: ImageSet, *, conditional: bool, device: str = "cpu", batch_size: int = 16
) -> Tensor:
    """Scores `(N,)` of a critic of images in [-1, 1] and grades, averaged over several fixed random orders.

    A critic may look at a batch as a whole (the deviation over the batch of Karras et al. 2018), so that its score of
    an image depends on the company. Averaged over orders it is the image's own.
    """
    grades, total = torch.tensor(images.grades), torch.zeros(len(images), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for _ in range(ORDERS):
        for rows in torch.randperm(len(images), generator=generator).split(batch_size):
            grade = grades[rows].to(device) if conditional else None
            seen = images.floats(rows.tolist()).to(device) * 2 - 1
            total[rows] += critic(seen, grade).double().cpu()
    return total / ORDERS


def groups_of(scores: Mapping[str, Tensor], top: int) -> dict[str, list[int]]:
    """Rows of all samples, and of the `top` best and worst of each ranking; best and worst first."""
    found = {"all": list(range(len(next(iter(scores.values())))))}
    for name, values in scores.items():
        order = values.argsort(descending=True, stable=True).tolist()
        found |= {f"top_{name}": order[:top], f"bottom_{name}": order[::-1][:top]}
    return found


def figures(
    references: Mapping[str, Tensor], samples: Tensor, groups: Mapping[str, Sequence[int]], extractor: Extractor
) -> dict[str, dict[str, Any]]:
    """FID and KID of each group (rows of `samples`) against each reference, both features, with floor and warnings."""
    found: dict[str, dict[str, Any]] = {}
    for name, real in references.items():
        if len(real) < SMALLEST:
            found[name] = {"skipped": f"{len(real)} photographs: fewer than {SMALLEST}"}
            continue
        whose: dict[str, Any] = {"extractor": extractor.name, "extractor_sha256": extractor.sha256}
        found[name] = {}
        for group, rows in groups.items():
            results = evaluate_features(real, samples[list(rows)], **whose)
            found[name][group] = {figure: results[figure].as_dict() for figure in FIGURES}
    return found


def column_name(threshold: float) -> str:
    """Heading of a threshold, as in the paper's tables.

    Examples:
        >>> column_name(0), column_name(0.6)
        ('All (SR 0)', 'SR 60')
    """
    return "All (SR 0)" if threshold == 0 else f"SR {100 * threshold:g}"


def markdown(result: Mapping[str, Any]) -> str:
    """Tables of counts, FID and KID, with the warnings."""
    columns, extractor, classes = result["columns"], result["extractor"], enumerate(result["classes"])
    names = [column_name(column["threshold"]) for column in columns]
    counts = [[name, *(str(c["photographs"].get(str(number), 0)) for c in columns)] for number, name in classes]
    counts.append(["all", *(str(column["n_training"]) for column in columns)])
    parts = [f"# Selection rate: {result['trainer']['bundle']}", "## Photographs trained on"]
    parts.append(markdown_table(["class", *names], counts))
    for reference, words in REFERENCES.items():
        for figure in FIGURES:
            found = [column["figures"][reference] for column in columns]
            rows = [
                [label, *(_cell(each, group, figure) for each in found)]
                for group, label in _groups(columns[0]["top"]).items()
            ]
            rows.append(["floor: half against half", *(_floor(each, figure) for each in found)])
            note = "In brackets: ratio to the floor at equal n." if figure == "fid" else "Unbiased: 0 is no difference."
            parts += [f"## {figure.upper()} against {words}", note, markdown_table(["samples", *names], rows)]
    parts.append(f"Features of `{extractor['name']}` ({extractor['dimension']} numbers, {extractor['sha256'][:12]}).")
    parts.append("\n".join(f"- {warning}" for warning in result["warnings"]))
    return "\n\n".join(parts) + "\n"


def _groups(top: int) -> dict[str, str]:
    sides = [(side, ranking) for ranking in RANKINGS for side in ("top", "bottom")]
    return {"all": "All"} | {f"{side}_{by}": f"{side.capitalize()} {top} by {by}" for side, by in sides}


def _cell(found: Mapping[str, Any], group: str, name: str) -> str:
    if group not in found:
        return "-"
    ratio = found[group][name]["ratio_to_floor"]
    return f"{found[group][name]['value']:.4g}" + ("" if ratio is None else f" ({ratio:.2f})")


def _floor(found: Mapping[str, Any], name: str) -> str:
    figure = found.get("all", {}).get(name, {"floor": None})
    return "-" if figure["floor"] is None else f"{figure['floor']:.4g} (n = {figure['floor_n']})"


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
