"""Painted photographs for a study: edits of the same eye, healthy canvases, and the control with nothing new in it.

New lesions are composed from the training photographs alone, where they have masks; own masks are theirs, or found by
the generator's segmenter.
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

from monai_retina_gen.data import CONDITION_KEYS, LesionBank, MaskComposer
from monai_retina_gen.editing.edit_request import EditRequest
from monai_retina_gen.evidence.evaluation.image_sets import to_bytes
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.generators.lesion_painting import HEALTHY, LesionPainting
from monai_retina_gen.networks import PAINTED_LESIONS
from monai_retina_gen.transforms.augment.policy import DEFAULT_STRENGTH

from .alternative_images import Alternatives, LesionChange, rows_by_grade, rows_by_source, to_be_edited
from .arms import CANVAS_GRADES, EDITED_GRADES, paints
from .config import StudyConfig
from .photographs import Photographs, lesions_of, mask_keys, own_masks

BATCH = 16
ANATOMY = ("fov", "od", "vessel")


def painted_edits(generator: RetinaGenerator, photographs: Photographs, config: StudyConfig) -> Alternatives:
    """Photographs with more lesions of their grade, as many of each as make `bank_size` of its grade."""
    painter = _with_own_lesions(generator, photographs)
    chosen = to_be_edited(photographs, set(EDITED_GRADES) & set(_composer(painter).grades), config.bank_size)
    seeds, strengths = drawn(len(chosen))
    images, changes = [], []
    for few in _alike(chosen, photographs, "edit"):
        rows = [chosen[i] for i in few]
        part = photographs.select(rows)
        request = EditRequest.of(
            part.floats().to(config.device),
            painter.check_grades(part.grades),
            lesion="",
            strength=strengths[few],
            seeds=[seeds[i] for i in few],
            masks=_masks_of(photographs, rows, CONDITION_KEYS, config),
        )
        for at, image, change in _paint(painter, request):
            images.append(to_bytes(image))
            changes.append(LesionChange(rows[at], seeds[few[at]], *change))
    _check_any(images, "edit", painter)
    sources = [change.row for change in changes]
    grades = [photographs.grades[row] for row in sources]
    per_photograph = rows_by_source(sources, len(photographs))
    return Alternatives(torch.stack(images), grades, per_photograph, len(chosen), changes, sources)


def _paint(painter: LesionPainting, request: EditRequest) -> Iterator[tuple[int, Tensor, tuple[Tensor, Tensor]]]:
    """Row, image, and lesions before and after, of the edits that were not refused."""
    pending = painter.begin_edits(request, with_masks=True)
    rows = [i for i, reason in enumerate(pending.refused) if not reason]
    if not rows:
        return
    drawn, reasons = pending.draw(rows, request.strengths[rows])
    images = request.images.index_put((torch.tensor(rows),), drawn)
    after = pending.masks(images, request.strengths)
    for row, reason in zip(rows, reasons, strict=True):
        if not reason:
            yield row, images[row], (_sparse(pending.own, row), _sparse(after, row))


def _sparse(masks: Mapping[str, Tensor], row: int) -> Tensor:
    return to_bytes(torch.cat([masks[name][row] for name in PAINTED_LESIONS])).to_sparse()


def _lesions(each: Sequence[Tensor], real: Tensor) -> dict[str, Tensor]:
    planes = torch.stack([lesions.to_dense() for lesions in each]).to(real) / 255
    return {name: planes[:, [plane]] for plane, name in enumerate(PAINTED_LESIONS)}


def _check_any(images: Sequence[Tensor], arm: str, painter: LesionPainting) -> None:
    if not images:
        raise ValueError(f"{arm}: {painter.name} refused everything; leave the arm out")


@torch.no_grad()
def nothing_new(
    generator: RetinaGenerator, photographs: Photographs, of: Alternatives, config: StudyConfig
) -> Alternatives:
    """The photographs of the edits `of`, painted in the same places, with nothing but what they show already."""
    painter, rows_of = painting(generator), [change.row for change in of.changes]
    images = of.images.clone()
    for few in _alike(rows_of, photographs, "nothing-new"):
        changes, part = [of.changes[i] for i in few], photographs.select([rows_of[i] for i in few])
        real = part.floats().to(config.device)
        own, wanted = (_lesions(each, real) for each in zip(*((c.own, c.wanted) for c in changes), strict=True))
        found = painter.found_masks(real, _masks_of(photographs, [rows_of[i] for i in few], ANATOMY, config) | own)
        assert painter.painter is not None  # painting
        seeds, grades = [change.seed for change in changes], painter.check_grades(part.grades)
        drawn, where = painter.painter.draw(real, found, wanted, seeds=seeds, grades=grades, nothing_new=True)
        images[few] = to_bytes(torch.where(where > 0, drawn.clamp(0, 1), real))
    return Alternatives(images, of.grades, of.rows, of.tried, (), of.sources)


def painted_canvases(generator: RetinaGenerator, photographs: Photographs, config: StudyConfig) -> Alternatives:
    """Healthy training photographs painted to grades: `bank_size` of each that the photographs and the lesions have."""
    painter = _with_own_lesions(generator, photographs)
    wanted = [g for g in CANVAS_GRADES if g in photographs.grades and g in _composer(painter).grades]
    healthy = [row for row, grade in enumerate(photographs.grades) if grade == HEALTHY]
    grades = [grade for grade in wanted for _ in range(config.bank_size)]
    chosen = [healthy[i % len(healthy)] for i in range(len(grades))]
    seeds, strengths = drawn(len(chosen))
    images, kept = [], []
    for few in _alike(chosen, photographs, "canvas"):
        rows = [chosen[i] for i in few]
        canvas = photographs.select(rows).floats().to(config.device)
        batch = painter.paint_canvases(
            canvas,
            [grades[i] for i in few],
            seeds=[seeds[i] for i in few],
            strength=strengths[few],
            masks=_masks_of(photographs, rows, ANATOMY, config),
        )
        for i, image, record in zip(few, batch.image, batch.records, strict=True):
            if not record.options.get("refused"):
                images.append(to_bytes(image))
                kept.append(i)
    _check_any(images, "canvas", painter)
    made, sources = [grades[i] for i in kept], [chosen[i] for i in kept]
    return Alternatives(torch.stack(images), made, rows_by_grade(made, photographs), len(chosen), (), sources)


def _composer(painter: LesionPainting) -> MaskComposer:
    assert painter.composer is not None  # else the arm is left out
    return painter.composer()


def _masks_of(
    photographs: Photographs, rows: Sequence[int], names: Sequence[str], config: StudyConfig
) -> dict[str, Tensor]:
    """Masks of some photographs that have the same ones, `(B, 1, S, S)` in [0, 1]."""
    each = [own_masks(photographs.items[row], config.image_size) for row in rows]
    found = [name for name in mask_keys(photographs.items[rows[0]]) if name in names]
    return {name: torch.stack([masks[name] for masks in each]).to(config.device).float() / 255 for name in found}


def _with_own_lesions(generator: RetinaGenerator, photographs: Photographs) -> LesionPainting:
    """The generator with lesions of these photographs alone; with its own where they have no masks."""
    painter = painting(generator)
    masked = any(key in item for item in photographs.items for key in PAINTED_LESIONS)
    return with_lesions(painter, lesions_of(photographs)) if masked else painter


def _alike(rows: Sequence[int], photographs: Photographs, what: str) -> Iterator[list[int]]:
    """Batches of indices into `rows`, of photographs with the same masks."""
    return alike([mask_keys(photographs.items[row]) for row in rows], BATCH, what)


def painting(generator: RetinaGenerator) -> LesionPainting:
    """The generator, or an error where it paints no photographs."""
    if not paints(generator):
        raise ValueError(f"generator: {generator.name} came, which paints no photographs")
    return generator


def with_lesions(generator: LesionPainting, bank: LesionBank) -> LesionPainting:
    """The generator with these lesions and no others."""
    composer, painter = MaskComposer(bank), copy.copy(generator)
    painter.composer = lambda: composer
    return painter


def drawn(number: int) -> tuple[list[int], Tensor]:
    """Seeds and strengths of so many paintings: always the same."""
    random = np.random.RandomState(0)
    seeds = random.randint(0, 2**31, number, dtype=np.int64)
    return [int(seed) for seed in seeds], torch.from_numpy(random.uniform(*DEFAULT_STRENGTH, number)).float()


def alike(keys: Sequence[Any], batch: int, what: str) -> Iterator[list[int]]:
    """Batches of indices of photographs whose keys, the masks that they have, are equal."""
    order = sorted(range(len(keys)), key=keys.__getitem__)
    with tqdm(total=len(keys), desc=what, leave=False) as bar:
        for _, same in groupby(order, key=keys.__getitem__):
            each = list(same)
            for start in range(0, len(each), batch):
                yield each[start : start + batch]
                bar.update(len(each[start : start + batch]))
