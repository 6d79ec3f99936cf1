"""Which generators paint on photographs, what a study of them wants, and how studies paint."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import LesionBank, MaskComposer
from monai_retina_gen.editing.painting import SMALLEST_SIDE
from monai_retina_gen.generators import LesionPainterGenerator, RetinaGenerator
from monai_retina_gen.generators.lesion_painting import LesionPainting
from monai_retina_gen.transforms.augment.policy import DEFAULT_STRENGTH

from .config import StudyConfig


def paints(generator: RetinaGenerator) -> bool:
    """Whether a generator edits photographs by painting."""
    return isinstance(generator, LesionPainting) and generator.painter is not None


def only_paints(generator: RetinaGenerator) -> bool:
    """Whether a generator draws no whole eyes."""
    return isinstance(generator, LesionPainterGenerator)


def why_no_painting(generator: RetinaGenerator, config: StudyConfig) -> str:
    """Why a generator cannot paint the photographs of a study, `""` where it can."""
    if not isinstance(generator, LesionPainting) or generator.painter is None:
        return "the generator paints no photographs"
    if generator.composer is None:
        return "the generator has no lesion bank"
    small = config.image_size < SMALLEST_SIDE
    return f"painting wants at least {SMALLEST_SIDE} px, the study has {config.image_size}" if small else ""


def painting(generator: RetinaGenerator) -> LesionPainting:
    """The generator, or an error where it paints no photographs."""
    if not isinstance(generator, LesionPainting) or generator.painter is None:
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
