"""What edits of each strength do to the label, the lesions and everything else.

Source: Zhao et al. 2023, Fig. 3b: accuracy of a grader on edited photographs against the strength, from -1 to 1. Beside
it: how often the label flips, how the lesion's area changes, and what changes outside the lesions. One file of rows a
photograph: stopped, the study goes on where it was.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from tqdm import tqdm

from monai_retina_gen.data import icdr_grade, photograph_names, write_json
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS
from monai_retina_gen.data.settings_file import SETTINGS, begin_folder
from monai_retina_gen.editing import LabelGate, resolve_gate
from monai_retina_gen.editing.gate_measures import lesion_neighbourhood
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS
from monai_retina_gen.evidence.edits.alpha_plot import draw_alpha_study
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.generators.content_record import gate_record, generator_record, items_sha256
from monai_retina_gen.losses import LPIPSDR
from monai_retina_gen.transforms import CropToFieldOfView, LoadFundus
from monai_retina_gen.weights import state_sha256

__all__ = ["AlphaSettings", "alpha_study", "alpha_table", "summarise"]

RESULT, ROWS, PLOT = "alpha_study.json", "alpha_study.csv", "alpha_study.png"
STRENGTHS = tuple(round(-1 + 0.25 * i, 2) for i in range(9))


@dataclass(frozen=True, kw_only=True)
class AlphaSettings:
    """Settings of an alpha study.

    Args:
        lesions: lesions that are edited, each alone.
        strengths: in [-1, 1]; 0 is the photograph as it is.
        image_size: side of the photographs.
        blend: `ratio`, `delta` or `replace`.
        gate: `none`, or `label` for edits as a gated augmentation makes them.
        graders: `BUNDLE:CONFIG` of cross-fitted graders that judge; not those of the gate, if there is one.

    Raises:
        ValueError: for strengths outside [-1, 1], or if the gate's own graders would judge.
    """

    lesions: tuple[str, ...] = ("ex",)
    strengths: tuple[float, ...] = STRENGTHS
    image_size: int = 256
    blend: str = "delta"
    gate: str = "none"
    graders: str = DEFAULT_GRADERS

    def __post_init__(self) -> None:
        if not self.strengths or not all(-1 <= s <= 1 for s in self.strengths):
            raise ValueError(f"strengths {self.strengths}: want numbers in [-1, 1]")
        if self.gate == "label" and self.graders == DEFAULT_GRADERS:
            raise ValueError(
                f"graders {self.graders} are the label gate's: what it accepted would be judged by itself. Give other "
                "cross-fitted graders (`monai-retina-gen model cross-fit`), or gate none"
            )


def alpha_study(
    items: Sequence[Mapping[str, Any]],
    generator: RetinaGenerator,
    out: str | Path,
    settings: AlphaSettings,
    *,
    judge: LabelGate,
    distance: LPIPSDR | Any,
    progress: bool = True,
) -> dict[str, Any]:
    """Edit photographs at every strength and measure.

    Args:
        items: graded items of a datalist with `group`; grades without the lesion are left out.
        generator: one with the mode `edit`.
        out: folder; made, or gone on with.
        settings: what is done.
        judge: graders that say the grade.
        distance: perceptual distance of pairs of images in [0, 1].
        progress: show a bar with the time left.

    Returns:
        What `alpha_study.json` holds: a list of figures by lesion and strength.

    Raises:
        ValueError: if the folder was begun with other settings, or no item has a grade that may be edited.
    """
    folder = Path(out)
    gate = None if settings.gate == "none" else resolve_gate(settings.gate)
    _begin(folder, settings, items, generator, {"gate": gate_record(gate), "judge": gate_record(judge)}, distance)
    names = photograph_names(str(item["image"]) for item in items)
    chosen = [item for item in items if any(n in GRADE_LESIONS[icdr_grade(item)] for n in settings.lesions)]
    if not chosen:
        raise ValueError(f"no photograph has a grade that shows {', '.join(settings.lesions)}")
    rows = []
    for item in tqdm(chosen, desc="edits", unit="photograph", disable=not progress):
        name = names[str(item["image"])]
        file = folder / "rows" / f"{name}.json"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
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


def _begin(
    folder: Path,
    settings: AlphaSettings,
    items: Sequence[Mapping[str, Any]],
    generator: RetinaGenerator,
    judges: Mapping[str, Any],
    distance: Any,
) -> None:
    record = {
        "data_sha256": items_sha256(items, ("image", "grade", "group")),
        "generator": generator_record(generator),
        "judges": dict(judges),
        "distance_sha256": state_sha256(distance.state_dict()) if isinstance(distance, nn.Module) else "",
    }
    begin_folder(folder, asdict(settings) | record)


def _rows(
    item: Mapping[str, Any],
    generator: RetinaGenerator,
    settings: AlphaSettings,
    judge: LabelGate,
    distance: Any,
    gate: Any,
) -> list[dict[str, Any]]:
    """One row a lesion and strength."""
    photo = CropToFieldOfView(size=settings.image_size)(LoadFundus()(item["image"])).as_tensor()
    grade, group, count = icdr_grade(item), str(item.get("group", "")), len(settings.strengths)
    rows = []
    for lesion in settings.lesions:
        if lesion not in GRADE_LESIONS[grade]:
            continue
        batch = generator.edit(
            photo[None].expand(count, -1, -1, -1), [grade] * count, lesion=lesion, strength=list(settings.strengths),
            blend=settings.blend, gate=gate, groups=[group] * count, with_masks=True,
            allow_upsampling=settings.blend == "replace",
        )  # fmt: skip
        measured = _measures(batch.image, batch.masks, lesion, settings, judge, distance, grade, group)
        for i, record in enumerate(batch.records):
            rows.append(
                {
                    "grade": grade,
                    "lesion": lesion,
                    "asked": settings.strengths[i],
                    "strength": record.options.get("strength", 0.0),
                    "refused": record.options.get("refused", ""),
                    **{name: values[i] for name, values in measured.items()},
                }
            )
    return rows


def _measures(
    images: Tensor,
    masks: Mapping[str, Tensor],
    lesion: str,
    settings: AlphaSettings,
    judge: LabelGate,
    distance: Any,
    grade: int,
    group: str,
) -> dict[str, list[Any]]:
    probabilities = judge.probabilities(images, [group] * len(images))
    zero = min(range(len(settings.strengths)), key=lambda i: abs(settings.strengths[i]))
    predicted = probabilities.argmax(1)
    found: dict[str, list[Any]] = {
        "predicted": predicted.tolist(),
        "probability": [round(p, 6) for p in probabilities[:, grade].tolist()],
        "flipped": (predicted != predicted[zero]).tolist(),
        "area": [None] * len(images),
        "outside": [None] * len(images),
    }
    if lesion in masks:
        found["area"] = [round(a, 8) for a in masks[lesion].float().mean((1, 2, 3)).tolist()]
        whole = {name: mask > 0.5 for name, mask in masks.items()}
        around = torch.cat([lesion_neighbourhood(_at(whole, i), _at(whole, zero)) for i in range(len(images))])
        original = images[[zero]].expand_as(images)
        with torch.no_grad():  # the neighbourhood is set back to the photograph: only the rest may differ
            found["outside"] = [round(d, 8) for d in distance(images.where(~around, original), original).tolist()]
    return found


def _at(masks: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    return {name: mask[[row]] for name, mask in masks.items()}


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
