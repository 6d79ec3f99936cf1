"""What replaces a photograph in the arms that use a generator: made ahead, once per generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import MaskComposer, SyntheticDataset, build_lesion_bank, read_image
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.transforms.augment.policy import AugmentationPlan, AugmentationPolicy
from monai_retina_gen.transforms.augment.real_images import RealImages
from monai_retina_gen.transforms.augment.source import AugmentationSource
from monai_retina_gen.transforms.box_geometry import resize_square
from monai_retina_gen.transforms.expansion.folder import expand

from .arms import EDITED_GRADES
from .config import StudyConfig
from .photographs import Photographs, to_bytes
from .texture import match_texture

__all__ = ["Alternatives", "Bank", "make_alternatives", "make_bank"]

BATCH = 32


@dataclass(frozen=True)
class Alternatives:
    """Images that may replace photographs.

    Args:
        images: `(M, 3, S, S)` uint8.
        rows: for each photograph the rows of `images` that may replace it; empty where it is never replaced.
    """

    images: Tensor
    rows: list[Tensor]


@dataclass(frozen=True)
class Bank:
    """Generated images at the study's size: `images` `(M, 3, S, S)` uint8 and their grades."""

    images: Tensor
    grades: list[int]


def make_bank(
    generator: RetinaGenerator, photographs: Photographs, folder: Path, config: StudyConfig, mode: str = "sample"
) -> Bank:
    """Generate `bank_size` images of every grade that the photographs and the generator have, and read them.

    In the mode `synthesize` they are of the photographs' vessels, disc and field of view, with lesions composed from
    all photographs after the grade.
    """
    grades = set(photographs.grades) - generator.missing_grades
    if mode == "synthesize":
        composer = MaskComposer(build_lesion_bank(photographs.items, progress=True))
        counts = dict.fromkeys(sorted(grades & set(composer.grades)), config.bank_size)
        items, device = photographs.items, config.device
        expand(generator, counts, folder, gate=None, masks=items, lesion_bank=composer, device=device)
    else:
        expand(generator, dict.fromkeys(sorted(grades), config.bank_size), folder, gate=None, device=config.device)
    items = SyntheticDataset(folder).data
    images = [read_image(item["image"]) for item in tqdm(items, desc="reading the bank", leave=False)]
    size = min(config.image_size, generator.image_size)
    smaller = torch.stack([to_bytes(resize_square(image, size, "bilinear")) for image in images])
    return Bank(smaller, [int(item["grade"]) for item in items])


def make_alternatives(
    arm: str, generator: RetinaGenerator, bank: Bank, photographs: Photographs, config: StudyConfig
) -> Alternatives:
    """Make the images that replace photographs in an arm."""
    if arm in ("sample", "sample-uniform", "synthesize"):
        grades = torch.tensor(bank.grades)
        by_grade = {g: torch.nonzero(grades == g).flatten() for g in set(bank.grades)}
        none = torch.empty(0, dtype=torch.long)  # a grade that the generator lacks stays real
        return Alternatives(bank.images, [by_grade.get(grade, none) for grade in photographs.grades])
    if arm == "texture-matched":
        return _one_each(match_texture(photographs, bank.images, bank.grades, generator.image_size)[0])
    edit_options = {"step": config.step} if config.step else {}
    source = AugmentationSource(generator=generator, device=config.device, edit_options=edit_options)
    if arm == "reconstruct":
        plans = [AugmentationPlan("reconstruct", grade, 0) for grade in photographs.grades]
        return _one_each(_carry_out(source, plans, photographs.float_images))
    return _edits(source, photographs, config)


def _one_each(images: Tensor) -> Alternatives:
    return Alternatives(to_bytes(images), [torch.tensor([row]) for row in range(len(images))])


def _carry_out(source: AugmentationSource, plans: Sequence[AugmentationPlan], images: Tensor) -> Tensor:
    made = []
    for start in tqdm(range(0, len(plans), BATCH), desc=plans[0].mode, leave=False):
        rows = slice(start, start + BATCH)
        few = plans[rows]
        outcomes = source.apply(few, RealImages(images[rows], {}, [""] * len(few), [None] * len(few)))
        # an edit that was refused leaves the photograph as it is
        made += [real if out.image is None else out.image for real, out in zip(images[rows], outcomes, strict=True)]
    return torch.stack(made)


def _edits(source: AugmentationSource, photographs: Photographs, config: StudyConfig) -> Alternatives:
    """As many edits per photograph as make `bank_size` images of its grade, each of its own lesion and strength."""
    policy = AugmentationPolicy(prob=1.0, mode="edit", lesion=config.lesions, strength=config.strength)
    random = np.random.RandomState(0)
    times = {g: -(-config.bank_size // photographs.grades.count(g)) for g in set(photographs.grades)}
    chosen = [
        row for row, grade in enumerate(photographs.grades) if grade in EDITED_GRADES for _ in range(times[grade])
    ]
    plans: list[Any] = [policy.draw(random, photographs.grades[row]) for row in chosen]
    images = to_bytes(_carry_out(source, plans, photographs.select(chosen).float_images))
    return Alternatives(images, _rows_of(chosen, len(photographs)))


def _rows_of(chosen: Sequence[int], count: int) -> list[Tensor]:
    sources = torch.tensor(chosen)
    return [torch.nonzero(sources == row).flatten() for row in range(count)]
