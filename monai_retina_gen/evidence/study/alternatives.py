"""What replaces a photograph in the arms that use a generator: made ahead, once per generator, and judged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import MaskComposer, SyntheticDataset
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.editing import LabelGate
from monai_retina_gen.evidence.evaluation.image_sets import to_bytes
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.transforms.augment.policy import AugmentationPlan, AugmentationPolicy
from monai_retina_gen.transforms.augment.real_images import RealImages
from monai_retina_gen.transforms.augment.source import AugmentationSource
from monai_retina_gen.transforms.box_geometry import resize_square
from monai_retina_gen.transforms.expansion.folder import expand

from .alternative_images import Alternatives, Bank, rows_by_grade, rows_by_source, to_be_edited
from .arms import EDITED_GRADES
from .config import StudyConfig
from .lesions import lesions_of
from .painters import paints
from .paintings import nothing_new, painted_canvases, painted_edits
from .photographs import Photographs
from .texture import match_texture

BATCH = 32


def make_bank(
    generator: RetinaGenerator,
    photographs: Photographs,
    folder: Path,
    config: StudyConfig,
    mode: str = "sample",
    *,
    grades: Collection[int] = (),
) -> Bank:
    """Generate `bank_size` images of each grade that photographs and generator have, into `folder`, and read them.

    In the mode `synthesize` they are of the photographs' vessels, disc and field of view, with lesions composed from
    these photographs alone after the grade. `grades` are made in place of the photographs'.
    """
    wanted = set(grades or photographs.grades) - generator.missing_grades
    if mode == "synthesize":
        composer = MaskComposer(lesions_of(photographs))
        counts = dict.fromkeys(sorted(wanted & set(composer.grades)), config.bank_size)
        items, device = photographs.items, config.device
        expand(generator, counts, folder, gate=None, masks=items, lesion_bank=composer, device=device)
    else:
        expand(generator, dict.fromkeys(sorted(wanted), config.bank_size), folder, gate=None, device=config.device)
    items = SyntheticDataset(folder).data
    images = [read_image(item["image"]) for item in tqdm(items, desc="reading the bank", leave=False)]
    size = min(config.image_size, generator.image_size)
    smaller = torch.stack([to_bytes(resize_square(image, size, "bilinear")) for image in images])
    return Bank(smaller, [int(item["grade"]) for item in items])


def make_alternatives(
    arm: str,
    generator: RetinaGenerator,
    photographs: Photographs,
    config: StudyConfig,
    *,
    bank: Bank | None = None,
    of: Alternatives | None = None,
) -> Alternatives:
    """Make the images that replace training photographs in an arm.

    The arms `sample` and `synthesize` take theirs from `bank`; a control replaces the same photographs as `of`, what
    replaces them in the arm that it controls.

    Raises:
        ValueError: for an arm of a bank or a control without what it wants.
    """
    if arm in ("sample", "synthesize"):
        if bank is None:
            raise ValueError(f"bank: none came, and the arm {arm!r} takes its images from one")
        return Alternatives(bank.images, bank.grades, rows_by_grade(bank.grades, photographs), len(bank.grades))
    if arm == "canvas":
        return painted_canvases(generator, photographs, config)
    if arm == "edit":
        make = painted_edits if paints(generator) else _edits
        return make(generator, photographs, config)
    if of is None:
        raise ValueError(f"of: none came, and the arm {arm!r} is a control: of which images?")
    if arm == "nothing-new":
        return nothing_new(generator, photographs, of, config)
    if arm == "texture-matched":
        made = match_texture(photographs, of.images, of.grades)[0]
    else:
        made = _reconstructed(generator, photographs, config)
    rows = [torch.tensor([row]) for row in range(len(made))]
    return Alternatives(to_bytes(made), photographs.grades, rows, len(made)).only_where(of)


def _reconstructed(generator: RetinaGenerator, photographs: Photographs, config: StudyConfig) -> Tensor:
    source = AugmentationSource(generator=generator, device=config.device)
    plans = [AugmentationPlan("reconstruct", grade, 0) for grade in photographs.grades]
    made = _carry_out(source, plans, photographs)
    return torch.stack(
        [real if image is None else image for real, image in zip(photographs.floats(), made, strict=True)]
    )


def _carry_out(
    source: AugmentationSource, plans: Sequence[AugmentationPlan], photographs: Photographs
) -> list[Tensor | None]:
    """What comes of each plan for its photograph; None where it was refused."""
    made: list[Tensor | None] = []
    for start in tqdm(range(0, len(plans), BATCH), desc=plans[0].mode, leave=False):
        few = plans[start : start + BATCH]
        images = photographs.select(range(start, start + len(few))).floats()
        outcomes = source.apply(few, RealImages(images, {}, [""] * len(few), [None] * len(few)))
        made += [outcome.image for outcome in outcomes]
    return made


def _edits(generator: RetinaGenerator, photographs: Photographs, config: StudyConfig) -> Alternatives:
    """As many edits per photograph as make `bank_size` images of its grade, each of its own lesion and strength."""
    edit_options = {"step": config.step} if config.step else {}
    source = AugmentationSource(generator=generator, device=config.device, edit_options=edit_options)
    policy = AugmentationPolicy(prob=1.0, mode="edit", lesion=config.lesions, strength=config.strength)
    random = np.random.RandomState(0)
    chosen = to_be_edited(photographs, EDITED_GRADES, config.bank_size)
    plans: list[Any] = [policy.draw(random, photographs.grades[row]) for row in chosen]
    made = _carry_out(source, plans, photographs.select(chosen))
    kept = [(row, image) for row, image in zip(chosen, made, strict=True) if image is not None]
    if not kept:
        raise ValueError(f"edit: {generator.name} refused all {len(made)} edits; leave the arm out")
    images, grades = torch.stack([image for _, image in kept]), [photographs.grades[row] for row, _ in kept]
    sources = [row for row, _ in kept]
    return Alternatives(to_bytes(images), grades, rows_by_source(sources, len(photographs)), len(made), sources=sources)


def judge(made: Alternatives, photographs: Photographs, config: StudyConfig, *, edits: bool) -> list[bool]:
    """Whether the gate accepts each image, once and as it is: weaker edits are not tried in place of refused ones.

    A photograph and what was made of it are judged by the grader that was not trained on it. Edits show their source's
    grade and are compared with it; canvases show another one.
    """
    gate = LabelGate() if config.gate == "label" else LabelGate(graders=config.gate)
    accepted = []
    for rows in torch.arange(len(made.images)).split(2 * BATCH):
        images = made.images[rows].to(config.device).float() / 255
        sources = [made.sources[row] for row in rows.tolist()]
        originals = photographs.floats(sources).to(config.device) if edits else None
        groups = [photographs.groups[row] for row in sources]
        verdict = gate.check(images, [made.grades[row] for row in rows.tolist()], originals, groups)
        accepted += [not reason for reason in verdict.reasons]
    return accepted
