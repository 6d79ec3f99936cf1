"""Pairs of photograph and masks, painted or synthesized; what the painting does not show is not in the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import CONDITION_KEYS, Item, MaskComposer, SyntheticDataset, build_lesion_bank, icdr_grade
from monai_retina_gen.data.lesion_rules import TOGETHER, annotated_lesions, merge_masks
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import load_eye, to_bytes
from monai_retina_gen.evidence.study.arms import CANVAS_GRADES
from monai_retina_gen.evidence.study.paintings import alike, drawn, painting, with_lesions
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.generators.base import GeneratedBatch
from monai_retina_gen.generators.lesion_painting import HEALTHY, LesionPainting
from monai_retina_gen.transforms import StackMasksd
from monai_retina_gen.transforms.expansion.folder import expand

from .training import PAINTED_ARMS, SYNTHESIZED_ARMS, Pairs, SegmentationStudyConfig, load_pairs

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
    """Annotated eyes with more lesions of their grade, `bank_size` of each grade; only those with a grade."""
    graded = [item for item in annotated if "grade" in item]
    of = {grade: [i for i, item in enumerate(graded) if icdr_grade(item) == grade] for grade in config.grades}
    chosen = [rows[i % len(rows)] for rows in of.values() if rows for i in range(config.bank_size)]
    read = sorted(set(chosen))
    eyes = dict(zip(read, _eyes([graded[row] for row in read], config, "annotated eyes"), strict=True))
    return _painted("edit", painter, [eyes[row] for row in chosen], [icdr_grade(graded[row]) for row in chosen], config)


def painted_canvases(painter: LesionPainting, healthy: Sequence[Item], config: SegmentationStudyConfig) -> Pairs:
    """Healthy photographs painted to grades, `bank_size` of each of `grades` that canvases are painted to."""
    grades = [grade for grade in CANVAS_GRADES if grade in config.grades for _ in range(config.bank_size)]
    eyes = _healthy_eyes(healthy, config, len(grades))
    return _painted("canvas", painter, [eyes[i % len(eyes)] for i in range(len(grades))], grades, config)


def _painted(
    arm: str, painter: LesionPainting, eyes: Sequence[Eye], grades: Sequence[int], config: SegmentationStudyConfig
) -> Pairs:
    seeds, strengths = drawn(len(eyes))
    found = []
    for few in alike([sorted(eye) for eye in eyes], BATCH, arm):
        masks = {key: torch.stack([eyes[i][key] for i in few]).to(config.device) for key in eyes[few[0]]}
        images, asked = masks.pop("image"), [grades[i] for i in few]
        options: dict[str, Any] = {"seeds": [seeds[i] for i in few], "strength": strengths[few], "masks": masks}
        if arm == "edit":
            found += _pairs(painter.edit(images, asked, with_masks=True, **options), masks, config)
        else:
            found += _pairs(painter.paint_canvases(images, asked, **options), {}, config)
    if not found:
        raise DatalistError(f"{arm}: {painter.name} refused everything; leave the arm out")
    made, labels = (torch.stack([pair[key] for pair in found]) for key in ("image", "label"))
    return Pairs(made, labels, [arm] * len(found))


def healthy_pairs(healthy: Sequence[Item], config: SegmentationStudyConfig) -> Pairs:
    """Healthy photographs with empty masks."""
    images = torch.stack([to_bytes(eye["image"]) for eye in _healthy_eyes(healthy, config)])
    label = images.new_zeros(len(images), len(config.structures), *images.shape[-2:])
    return Pairs(images, label, [str(item.get("group", item["image"])) for item in healthy])


def _healthy_eyes(healthy: Sequence[Item], config: SegmentationStudyConfig, most: int | None = None) -> list[Eye]:
    if not healthy:
        raise DatalistError(f"healthy: no training photograph of grade {HEALTHY} without annotated lesions")
    return _eyes(healthy[:most], config, "healthy eyes")


def _eyes(items: Sequence[Item], config: SegmentationStudyConfig, what: str) -> list[Eye]:
    """Photographs with the masks that they have, and with empty ones of lesions that were looked for."""
    found = []
    for item in tqdm(items, desc=what, leave=False):
        keys = [key for key in CONDITION_KEYS if key in item]
        eye = load_eye(item, config.image_size, keys)
        absent = [name for name in TOGETHER if name in annotated_lesions(item) and name not in eye]
        found.append({**eye, **{name: torch.zeros_like(eye["image"][:1]) for name in absent}})
    return found


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
