"""Painted pairs of photograph and masks for segmenters, and the healthy photographs that canvases are.

New lesions are composed from the annotated training photographs alone. What a mask asks for and the painting does not
show is not in the label (see `generators.LesionPainting`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import CONDITION_KEYS, Item, MaskComposer, build_lesion_bank, icdr_grade
from monai_retina_gen.data.combine_masks import TOGETHER, annotated_lesions
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import to_bytes
from monai_retina_gen.evidence.study.arms import CANVAS_GRADES
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.generators.base import GeneratedBatch
from monai_retina_gen.generators.lesion_painting import HEALTHY, LesionPainting
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd, StackMasksd
from monai_retina_gen.transforms.augment.policy import DEFAULT_STRENGTH

from .config import SegmentationStudyConfig
from .training import Pairs

__all__ = ["healthy_pairs", "painted_canvases", "painted_eyes", "painter_for"]

BATCH = 8
Eye = dict[str, Tensor]


def painter_for(generator: RetinaGenerator, annotated: Sequence[Item]) -> LesionPainting:
    """The generator with the lesions of these photographs alone.

    Raises:
        ValueError: for a generator that paints no photographs.
    """
    if not isinstance(generator, LesionPainting) or generator.painter is None:
        raise ValueError(f"generator: {generator.name} came, which paints no photographs")
    composer = MaskComposer(build_lesion_bank(annotated, progress=True))
    painter = copy.copy(generator)
    painter.composer = lambda: composer
    return painter


def painted_eyes(painter: LesionPainting, annotated: Sequence[Item], config: SegmentationStudyConfig) -> Pairs:
    """Annotated eyes with more lesions of their grade, `bank_size` of each grade; those without a grade are left out.

    Raises:
        DatalistError: where nothing was painted.
    """
    graded = [item for item in annotated if "grade" in item]
    of = {grade: [i for i, item in enumerate(graded) if icdr_grade(item) == grade] for grade in config.grades}
    chosen = [rows[i % len(rows)] for rows in of.values() if rows for i in range(config.bank_size)]
    seeds, strengths = _drawn(len(chosen))
    eyes = _eyes([graded[i] for i in sorted(set(chosen))], config, "annotated eyes")
    eye_of = {row: eyes[place] for place, row in enumerate(sorted(set(chosen)))}
    found = []
    for few in _alike([eye_of[i] for i in chosen], "edit"):
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
    seeds, strengths = _drawn(len(chosen))
    found = []
    for few in _alike(chosen, "canvas"):
        masks = _together([chosen[i] for i in few], config)
        images = masks.pop("image")
        batch = painter.paint_canvases(
            images,
            [grades[i] for i in few],
            seeds=[seeds[i] for i in few],
            strength=strengths[few],
            masks=masks,
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
        loaded = LoadFundusd(keys="image", mask_keys=keys)({key: item[key] for key in ("image", *keys)})
        cropped = CropToFieldOfViewd(keys="image", mask_keys=keys, size=config.image_size)(loaded)
        eye = {key: cropped[key].as_tensor() for key in ("image", *keys)}
        absent = [name for name in TOGETHER if name in annotated_lesions(item) and name not in eye]
        found.append({**eye, **{name: torch.zeros_like(eye["image"][:1]) for name in absent}})
    return found


def _drawn(number: int) -> tuple[list[int], Tensor]:
    random = np.random.RandomState(0)
    seeds = random.randint(0, 2**31, number, dtype=np.int64)
    return [int(seed) for seed in seeds], torch.from_numpy(random.uniform(*DEFAULT_STRENGTH, number)).float()


def _alike(eyes: Sequence[Eye], what: str) -> Iterator[list[int]]:
    """Batches of indices of eyes with the same masks."""
    order = sorted(range(len(eyes)), key=lambda i: sorted(eyes[i]))
    with tqdm(total=len(eyes), desc=what, leave=False) as bar:
        for _, same in groupby(order, key=lambda i: sorted(eyes[i])):
            each = list(same)
            for start in range(0, len(each), BATCH):
                yield each[start : start + BATCH]
                bar.update(BATCH)


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
