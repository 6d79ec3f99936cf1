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
from torch import Tensor, nn
from tqdm import tqdm

from monai_retina_gen.data import icdr_grade, photograph_names, write_json
from monai_retina_gen.data.files import SETTINGS, begin_folder
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS
from monai_retina_gen.editing import LabelGate, resolve_gate
from monai_retina_gen.editing.gate_measures import lesion_neighbourhood
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS
from monai_retina_gen.evidence.edits.alpha_figures import draw_alpha_study, summarise
from monai_retina_gen.evidence.evaluation.image_sets import load_eye
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.generators.content_record import gate_record, generator_record, items_sha256
from monai_retina_gen.losses import LPIPSDR
from monai_retina_gen.weights import state_sha256

__all__ = ["AlphaSettings", "alpha_study"]

RESULT, ROWS, PLOT = "alpha_study.json", "alpha_study.csv", "alpha_study.png"
STRENGTHS = tuple(round(-1 + 0.25 * i, 2) for i in range(9))


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
) -> dict[str, Any]:
    """Edit graded photographs at every strength and measure; grades that do not show the lesion are left out.

    Args:
        items: graded items of a datalist with `group`.
        generator: one with the mode `edit`.
        out: folder; made, or gone on with.
        settings: what is done.
        judge: graders that say the grade.
        distance: perceptual distance of pairs of images in [0, 1].

    Returns:
        What `alpha_study.json` holds: a list of figures by lesion and strength.

    Raises:
        ValueError: if the folder was begun with other settings, or no item has a grade that may be edited.
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
    item: Mapping[str, Any],
    generator: RetinaGenerator,
    settings: AlphaSettings,
    judge: LabelGate,
    distance: Any,
    gate: Any,
) -> list[dict[str, Any]]:
    """One row a lesion and strength."""
    photo = load_eye(dict(item), settings.image_size)["image"]
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
