"""Pairs of photograph and masks that are made for one set of training photographs, by arm: painted or synthesized.

What a mask asks for and the painting does not
show is not in the label (see `generators.LesionPainting`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import CONDITION_KEYS, Item, MaskComposer, SyntheticDataset, build_lesion_bank, icdr_grade
from monai_retina_gen.data.combine_masks import TOGETHER, annotated_lesions, merge_masks
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import load_eye, to_bytes
from monai_retina_gen.evidence.study.arms import CANVAS_GRADES
from monai_retina_gen.evidence.study.painters import alike, drawn, painting, with_lesions
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.generators.base import GeneratedBatch
from monai_retina_gen.generators.lesion_painting import HEALTHY, LesionPainting
from monai_retina_gen.transforms import StackMasksd
from monai_retina_gen.transforms.expansion.folder import expand

from .config import PAINTED_ARMS, SYNTHESIZED_ARMS, SegmentationStudyConfig
from .training import Pairs, load_pairs

__all__ = ["healthy_pairs", "made_pairs", "painted_canvases", "painted_eyes"]

BATCH = 8
Eye = dict[str, Tensor]


def made_pairs(
    arm: str,
    training: Sequence[Item],
    config: SegmentationStudyConfig,
    generator: RetinaGenerator | None,
    *,
    healthy: Sequence[Item] = (),
    predicted: Sequence[Item] = (),
    folder: Path,
) -> Pairs | None:
    """Pairs of an arm, made of the training photographs; `None` for an arm of photographs alone.

    `healthy` are those of grade 0, which canvases are; `predicted` have predicted masks. Synthesized pairs are written
    into `folder`.

    Raises:
        DatalistError: where nothing can be made.
        ValueError: for a generator that cannot make the arm.
    """
    annotated = [item for item in training if any(key in item for key in config.structures)]
    if arm == "healthy":
        return healthy_pairs(healthy, config)
    if generator is None:
        return None
    if arm in PAINTED_ARMS:
        # new lesions are composed from the annotated training photographs alone
        painter = with_lesions(painting(generator), build_lesion_bank(annotated, progress=True))
        return painted_eyes(painter, annotated, config) if arm == "edit" else painted_canvases(painter, healthy, config)
    return _synthesized(arm, training, predicted, config, generator, folder) if arm in SYNTHESIZED_ARMS else None


def _synthesized(
    arm: str,
    training: Sequence[Item],
    predicted: Sequence[Item],
    config: SegmentationStudyConfig,
    generator: RetinaGenerator,
    folder: Path,
) -> Pairs:
    second = {item["image"]: item for item in predicted}
    items, composer = [merge_masks(item, second.get(item["image"])) for item in training], None
    if arm == "synthesize":
        composer = MaskComposer(build_lesion_bank(training, predicted=predicted, progress=True))
    else:
        annotated = [item for item in items if any(key in item for key in config.structures)]
        items = [item for item in annotated if "grade" in item and icdr_grade(item) in config.grades]
    present = [g for g in config.grades if composer or any(icdr_grade(item) == g for item in items)]
    counts = dict.fromkeys(present, config.bank_size)
    expand(generator, counts, folder / arm, gate=None, masks=items, lesion_bank=composer, device=config.device)
    return load_pairs(SyntheticDataset(folder / arm).data, config, arm, synthesized=True)


def painted_eyes(painter: LesionPainting, annotated: Sequence[Item], config: SegmentationStudyConfig) -> Pairs:
    """Annotated eyes with more lesions of their grade, `bank_size` of each grade; those without a grade are left out.

    Raises:
        DatalistError: where nothing was painted.
    """
    graded = [item for item in annotated if "grade" in item]
    of = {grade: [i for i, item in enumerate(graded) if icdr_grade(item) == grade] for grade in config.grades}
    chosen = [rows[i % len(rows)] for rows in of.values() if rows for i in range(config.bank_size)]
    seeds, strengths = drawn(len(chosen))
    eyes = _eyes([graded[i] for i in sorted(set(chosen))], config, "annotated eyes")
    eye_of = {row: eyes[place] for place, row in enumerate(sorted(set(chosen)))}
    found = []
    for few in alike([sorted(eye_of[i]) for i in chosen], BATCH, "edit"):
        masks = _together([eye_of[chosen[i]] for i in few], config)
        images = masks.pop("image")
        batch = painter.edit(
            images,
            [icdr_grade(graded[chosen[i]]) for i in few],
            seeds=[seeds[i] for i in few],
            strength=strengths[few],
            masks=masks,
            with_masks=True,
        )
        found += _pairs(batch, masks, config)
    return _kept(found, "edit", painter)


def painted_canvases(painter: LesionPainting, healthy: Sequence[Item], config: SegmentationStudyConfig) -> Pairs:
    """Healthy photographs painted to grades, `bank_size` of each of `grades` that canvases are painted to.

    Raises:
        DatalistError: for no healthy photographs, or where nothing was painted.
    """
    _check_healthy(healthy)
    grades = [grade for grade in CANVAS_GRADES if grade in config.grades for _ in range(config.bank_size)]
    eyes = _eyes(healthy[: len(grades)], config, "healthy eyes")
    chosen = [eyes[i % len(eyes)] for i in range(len(grades))]
    seeds, strengths = drawn(len(chosen))
    found = []
    for few in alike([sorted(eye) for eye in chosen], BATCH, "canvas"):
        masks = _together([chosen[i] for i in few], config)
        images = masks.pop("image")
        batch = painter.paint_canvases(
            images, [grades[i] for i in few], seeds=[seeds[i] for i in few], strength=strengths[few], masks=masks
        )
        found += _pairs(batch, {}, config)
    return _kept(found, "canvas", painter)


def healthy_pairs(healthy: Sequence[Item], config: SegmentationStudyConfig) -> Pairs:
    """Healthy photographs with empty masks.

    Raises:
        DatalistError: for no healthy photographs.
    """
    _check_healthy(healthy)
    images = torch.stack([to_bytes(eye["image"]) for eye in _eyes(healthy, config, "healthy eyes")])
    label = images.new_zeros(len(images), len(config.structures), *images.shape[-2:])
    return Pairs(images, label, [str(item.get("group", item["image"])) for item in healthy])


def _check_healthy(healthy: Sequence[Item]) -> None:
    if not healthy:
        raise DatalistError(f"healthy: no training photograph of grade {HEALTHY} without annotated lesions")


def _eyes(items: Sequence[Item], config: SegmentationStudyConfig, what: str) -> list[Eye]:
    """Photographs with the masks that they have, and with empty ones of lesions that were looked for."""
    found = []
    for item in tqdm(items, desc=what, leave=False):
        keys = [key for key in CONDITION_KEYS if key in item]
        eye = load_eye(item, config.image_size, keys)
        absent = [name for name in TOGETHER if name in annotated_lesions(item) and name not in eye]
        found.append({**eye, **{name: torch.zeros_like(eye["image"][:1]) for name in absent}})
    return found


def _together(eyes: Sequence[Eye], config: SegmentationStudyConfig) -> Eye:
    return {key: torch.stack([eye[key] for eye in eyes]).to(config.device) for key in eyes[0]}


def _pairs(
    batch: GeneratedBatch, masks: Mapping[str, Tensor], config: SegmentationStudyConfig
) -> list[dict[str, Tensor]]:
    """Image and label of each that was painted."""
    after, stack = {**masks, **batch.masks}, StackMasksd(structures=config.structures)
    found = []
    for row, record in enumerate(batch.records):
        if not record.options.get("refused"):
            item: dict[Any, Tensor] = {name: after[name][row] for name in config.structures if name in after}
            found.append({k: v.cpu() for k, v in stack({**item, "image": batch.image[row]}).items()})
    return found


def _kept(found: Sequence[Mapping[str, Tensor]], arm: str, painter: LesionPainting) -> Pairs:
    if not found:
        raise DatalistError(f"{arm}: {painter.name} refused everything; leave the arm out")
    images, labels = (torch.stack([pair[key] for pair in found]) for key in ("image", "label"))
    return Pairs(images, labels, [arm] * len(found))
