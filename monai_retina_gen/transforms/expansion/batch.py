"""One batch of `expand`: made, written, and read again where all of it stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monai_retina_gen.data import RECORD_KEY, GenerationRecord, write_image, write_json
from monai_retina_gen.transforms.augment.outcome import Outcome
from monai_retina_gen.transforms.augment.policy import AugmentationPlan
from monai_retina_gen.transforms.augment.real_images import RealImages
from monai_retina_gen.transforms.augment.source import AugmentationSource
from monai_retina_gen.transforms.expansion.masks import MaskSource, stacked, write_masks


@dataclass(frozen=True)
class Entry:
    """An image that was written: its path in the folder, record, group, and the paths of its masks by key."""

    name: str
    record: GenerationRecord
    group: str
    masks: dict[str, str]


def finished_batch(
    folder: Path,
    source: AugmentationSource,
    size: int,
    grades: Sequence[int],
    seeds: Sequence[int],
    start: int,
    eyes: MaskSource | None,
) -> list[Entry]:
    """Make one batch of images of `grades` from `seeds`, or read it where all of it stands.

    `start` is the index of the first in the folder of `expand`, `eyes` gives masks to make them from: None for samples,
    and for canvases, which the source has.
    """
    done = folder / "batches" / f"{start:07d}.json"
    standing = _read(done)
    files = [file for entry in standing for file in (entry.name, *entry.masks.values())]
    if done.is_file() and all((folder / file).is_file() for file in files):
        return standing
    names = [f"images/grade{grade}/{start + i:06d}.png" for i, grade in enumerate(grades)]
    outcomes, groups = _make(source, size, grades, seeds, eyes)
    entries = [
        _write(folder, name, outcome, group or f"generated/{name}")
        for name, outcome, group in zip(names, outcomes, groups, strict=True)
        if outcome.image is not None
    ]
    done.parent.mkdir(exist_ok=True)
    rows = [{"name": e.name, "record": json.loads(e.record.to_json()), "group": e.group} for e in entries]
    write_json([{**row, "masks": e.masks} for row, e in zip(rows, entries, strict=True)], done)
    return entries


def _read(done: Path) -> list[Entry]:
    rows: list[dict[str, Any]] = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else []
    return [Entry(row["name"], GenerationRecord(**row["record"]), row["group"], row["masks"]) for row in rows]


def _make(
    source: AugmentationSource,
    size: int,
    grades: Sequence[int],
    seeds: Sequence[int],
    eyes: MaskSource | None,
) -> tuple[list[Outcome], list[str]]:
    """Outcomes, and the group of the photograph that each one's masks are of."""
    sampled = eyes is None and not source.has_canvases
    mode, empty = "sample" if sampled else "synthesize", torch.zeros(len(grades), 3, size, size)
    plans = [AugmentationPlan(mode, g, s) for g, s in zip(grades, seeds, strict=True)]
    nowhere, nobody = [""] * len(plans), list[str | None]([None] * len(plans))
    if eyes is None:
        outcomes = source.apply(plans, RealImages(empty, {}, nowhere, nobody))
        return outcomes, ["" if each.eye is None else str(each.eye.item["group"]) for each in outcomes]
    drawn = [eyes.draw(plan.grade, plan.seed) for plan in plans]
    paths = [str(item["image"]) for item, _ in drawn]
    outcomes = source.apply(plans, RealImages(empty, stacked([masks for _, masks in drawn]), paths, nobody))
    return outcomes, [str(item["group"]) for item, _ in drawn]


def _write(folder: Path, name: str, outcome: Outcome, group: str) -> Entry:
    if outcome.image is None or outcome.record is None:
        raise ValueError(f"{name}: an image without a record must not be written")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    masks = write_masks(folder, name, outcome.masks)
    text = {RECORD_KEY: outcome.record.to_json()}
    write_image(folder / name, outcome.image, text=text, xmp=outcome.record.to_xmp())
    return Entry(name, outcome.record, group, masks)
