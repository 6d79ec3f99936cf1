"""What edits of each strength do to the label, the lesions and everything else.

Source: Zhao et al. 2023, Fig. 3b: accuracy of a grader on edited photographs against the strength, from -1 to 1. One
file of rows a photograph: stopped, the study goes on where it was.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from scipy.stats import binomtest
from torch import Tensor, nn
from tqdm import tqdm

from monai_retina_gen.data import Item, icdr_grade, photograph_names, write_json
from monai_retina_gen.data.files import SETTINGS, begin_folder
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS
from monai_retina_gen.editing import LabelGate, resolve_gate
from monai_retina_gen.editing.gate_measures import lesion_neighbourhood
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS
from monai_retina_gen.evidence.evaluation.image_sets import load_eye
from monai_retina_gen.evidence.report.pictures import save_plot
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.generators.content_record import gate_record, generator_record, items_sha256
from monai_retina_gen.losses import LPIPSDR
from monai_retina_gen.weights import state_sha256

RESULT, ROWS, PLOT = "alpha_study.json", "alpha_study.csv", "alpha_study.png"
STRENGTHS = tuple(round(-1 + 0.25 * i, 2) for i in range(9))
PANELS = {
    "accuracy": "accuracy of the graders",
    "flips": "share of labels that flip",
    "area_change": "change of the lesion's area",
    "outside": "LPIPS_DR outside the lesions",
}


@dataclass(frozen=True, kw_only=True)
class AlphaSettings:
    """Settings of an alpha study; a `ValueError` says what makes no sense."""

    lesions: tuple[str, ...] = ("ex",)  # that are edited, each alone
    strengths: tuple[float, ...] = STRENGTHS  # in [-1, 1]; 0 is the photograph as it is
    image_size: int = 256
    blend: str = "delta"  # or `ratio`, `replace`
    gate: str = "none"  # or `label`: edits as a gated augmentation makes them
    graders: str = DEFAULT_GRADERS  # BUNDLE:CONFIG of cross-fitted graders that judge; not those of the gate

    def __post_init__(self) -> None:
        if not self.strengths or not all(-1 <= s <= 1 for s in self.strengths):
            raise ValueError(f"strengths {self.strengths}: want numbers in [-1, 1]")
        if self.gate == "label" and self.graders == DEFAULT_GRADERS:
            gates = f"graders {self.graders} are the label gate's: what it accepted would be judged by itself"
            raise ValueError(f"{gates}. Give others (`monai-retina-gen model cross-fit`), or gate none")


def alpha_study(
    items: Sequence[Item],
    generator: RetinaGenerator,
    out: str | Path,
    settings: AlphaSettings,
    *,
    judge: LabelGate,
    distance: LPIPSDR | Any,
) -> dict[str, Any]:
    """Edit graded photographs at every strength and measure; grades that do not show the lesion are left out.

    `judge` says the grade, `distance` is a perceptual distance of pairs of images in [0, 1]. Returns what
    `alpha_study.json` holds. A `ValueError` says where the folder was begun with other settings.
    """
    folder = Path(out)
    gate = None if settings.gate == "none" else resolve_gate(settings.gate)
    record = {
        "data_sha256": items_sha256(items, ("image", "grade", "group")),
        "generator": generator_record(generator),
        "judges": {"gate": gate_record(gate), "judge": gate_record(judge)},
        "distance_sha256": state_sha256(distance.state_dict()) if isinstance(distance, nn.Module) else "",
    }
    begin_folder(folder, asdict(settings) | record)
    names = photograph_names(str(item["image"]) for item in items)
    chosen = [item for item in items if any(n in GRADE_LESIONS[icdr_grade(item)] for n in settings.lesions)]
    if not chosen:
        raise ValueError(f"no photograph has a grade that shows {', '.join(settings.lesions)}")
    rows = []
    for item in tqdm(chosen, desc="edits", unit="photograph"):
        name = names[str(item["image"])]
        file = folder / "rows" / f"{name}.json"
        if not file.is_file():
            found = _rows(item, generator, settings, judge, distance, gate)
            write_json([{"image": name, **row} for row in found], file)
        rows += json.loads(file.read_text(encoding="utf-8"))
    report = {"settings": json.loads((folder / SETTINGS).read_text(encoding="utf-8")), "figures": summarise(rows)}
    write_json(report, folder / RESULT, sort_keys=False)
    with open(folder / ROWS, "w", newline="", encoding="utf-8") as file_:
        writer = csv.DictWriter(file_, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    draw_alpha_study(report["figures"], folder / PLOT)
    return report


def _rows(
    item: Item, generator: RetinaGenerator, settings: AlphaSettings, judge: LabelGate, distance: Any, gate: Any
) -> list[dict[str, Any]]:
    """One row a lesion and strength."""
    photo, asked = load_eye(item, settings.image_size)["image"], list(settings.strengths)
    grade, group, count = icdr_grade(item), str(item.get("group", "")), len(asked)
    zero = min(range(count), key=lambda i: abs(asked[i]))
    rows = []
    for lesion in (name for name in settings.lesions if name in GRADE_LESIONS[grade]):
        batch = generator.edit(
            photo[None].expand(count, -1, -1, -1), [grade] * count, lesion=lesion, strength=asked, blend=settings.blend,
            gate=gate, groups=[group] * count, with_masks=True, allow_upsampling=settings.blend == "replace",
        )  # fmt: skip
        probabilities = judge.probabilities(batch.image, [group] * count)
        predicted = probabilities.argmax(1)
        areas, outside = _changes(batch.image, batch.masks, lesion, zero, distance)
        for i, record in enumerate(batch.records):
            rows.append(
                {
                    "grade": grade,
                    "lesion": lesion,
                    "asked": asked[i],
                    "strength": record.options.get("strength", 0.0),
                    "refused": record.options.get("refused", ""),
                    "predicted": int(predicted[i]),
                    "probability": round(float(probabilities[i, grade]), 6),
                    "flipped": bool(predicted[i] != predicted[zero]),
                    "area": areas[i],
                    "outside": outside[i],
                }
            )
    return rows


def _changes(images: Tensor, masks: Any, lesion: str, zero: int, distance: Any) -> tuple[list[Any], list[Any]]:
    """Area of the lesion, and distance to the unedited image outside of what the lesion was and is."""
    if lesion not in masks:
        return [None] * len(images), [None] * len(images)
    each = [{name: mask[[row]] > 0.5 for name, mask in masks.items()} for row in range(len(images))]
    around = torch.cat([lesion_neighbourhood(found, each[zero]) for found in each])
    original = images[[zero]].expand_as(images)
    with torch.no_grad():  # the neighbourhood is set back to the photograph: only the rest may differ
        outside = distance(images.where(~around, original), original).tolist()
    areas = masks[lesion].float().mean((1, 2, 3)).tolist()
    return [round(a, 8) for a in areas], [round(d, 8) for d in outside]


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Figures by lesion and strength: means over photographs, with Wilson's 95 % interval for rates."""
    found = []
    for lesion, asked in sorted({(row["lesion"], row["asked"]) for row in rows}):
        own = [row for row in rows if (row["lesion"], row["asked"]) == (lesion, asked)]
        base = {row.get("image"): row for row in rows if row["lesion"] == lesion and row["asked"] == 0}
        areas = [(row["area"], base[row.get("image")]["area"]) for row in own if row["area"] is not None and base]
        changed, before = sum(now - then for now, then in areas), sum(then for _, then in areas)
        outside = [row["outside"] for row in own if row["outside"] is not None]
        # how often each kind of refusal occurs; figures in the text are left out
        reasons = (re.sub(r"\d", "", str(row["refused"]).split(",")[0]) for row in own if row["refused"])
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
                "area_change": changed / before if before > 0 else None,
                "outside": sum(outside) / len(outside) if outside else None,
                "reasons": dict(Counter(sorted(reasons))),
            }
        )
    return found


def _rate(values: Sequence[bool]) -> dict[str, float]:
    low, high = binomtest(sum(values), len(values)).proportion_ci(method="wilson")
    return {"rate": sum(values) / len(values), "low": float(low), "high": float(high)}


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
    save_plot(figure, path)
