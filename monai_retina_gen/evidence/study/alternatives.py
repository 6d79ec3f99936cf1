"""What replaces a photograph in the arms that use a generator: made ahead, once per generator, and judged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor
from tqdm import tqdm

from monai_retina_gen.data import MaskComposer, SyntheticDataset
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.editing import LabelGate
from monai_retina_gen.evidence.evaluation.image_sets import to_bytes
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.metrics import laplacian_pyramid
from monai_retina_gen.transforms.augment.policy import AugmentationPlan, AugmentationPolicy
from monai_retina_gen.transforms.augment.real_images import RealImages
from monai_retina_gen.transforms.augment.source import AugmentationSource
from monai_retina_gen.transforms.box_geometry import resize_square
from monai_retina_gen.transforms.expansion.folder import expand

from .alternative_images import Alternatives, Bank, rows_by_grade, rows_by_source, to_be_edited
from .arms import EDITED_GRADES, paints
from .config import StudyConfig
from .paintings import nothing_new, painted_canvases, painted_edits
from .photographs import Photographs, lesions_of

BATCH = 32
STEPS = 12  # of the bisection: sigma to 1/500 pixel
LARGEST_SIGMA = 8.0
CHUNK = 64


def make_bank(
    generator: RetinaGenerator,
    photographs: Photographs,
    folder: Path,
    config: StudyConfig,
    mode: str = "sample",
    *,
    grades: Collection[int] = (),
) -> Bank:
    """Generate `bank_size` images of each grade that photographs (or `grades`) and generator have, into `folder`.

    In the mode `synthesize` they are of the photographs' vessels, disc and field of view, with lesions composed from
    these photographs alone.
    """
    wanted, sources = set(grades or photographs.grades) - generator.missing_grades, dict[str, Any]()
    if mode == "synthesize":
        composer = MaskComposer(lesions_of(photographs))
        wanted, sources = wanted & set(composer.grades), {"masks": photographs.items, "lesion_bank": composer}
    counts = dict.fromkeys(sorted(wanted), config.bank_size)
    expand(generator, counts, folder, gate=None, device=config.device, **sources)
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
    """
    if arm in ("sample", "synthesize"):
        if bank is None:
            raise ValueError(f"bank: none came, and the arm {arm!r} takes its images from one")
        return Alternatives(bank.images, bank.grades, rows_by_grade(bank.grades, photographs), len(bank.grades))
    if arm == "canvas":
        return painted_canvases(generator, photographs, config)
    if arm == "edit":
        return (painted_edits if paints(generator) else _edits)(generator, photographs, config)
    if of is None:
        raise ValueError(f"of: none came, and the arm {arm!r} is a control: of which images?")
    if arm == "nothing-new":
        return nothing_new(generator, photographs, of, config)
    if arm == "texture-matched":
        made = match_texture(photographs, of.images, of.grades)[0]
    else:
        source = AugmentationSource(generator=generator)
        plans = [AugmentationPlan("reconstruct", grade, 0) for grade in photographs.grades]
        found = zip(photographs.floats(), _carry_out(source, plans, photographs), strict=True)
        made = torch.stack([real if image is None else image for real, image in found])
    rows = [torch.tensor([row]) for row in range(len(made))]
    return Alternatives(to_bytes(made), photographs.grades, rows, len(made)).only_where(of)


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
    source = AugmentationSource(generator=generator, edit_options=edit_options)
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

    A photograph and what was made of it are judged by the grader that was not trained on it. Edits are compared with
    their source; canvases show another grade.
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


def match_texture(photographs: Photographs, generated: Tensor, grades: Sequence[int]) -> tuple[Tensor, float]:
    """Bring photographs to the resolution and blur of generated images `(M, 3, S, S)` uint8 and their grades.

    A generator's blur is a mark: where severe grades are generated more often, a grader can learn that blurred means
    severe. This gives photographs the same mark without the generator's pathology: shrunk to the size of the generated
    images and enlarged again, they are blurred with the Gaussian whose width (returned, in pixels; 0 for none) gives
    the finest level of the Laplacian pyramid the energy of generated images of the same mixture of grades.
    """
    images, size = photographs.floats(), photographs.images.shape[-1]
    if generated.shape[-1] < size:
        small = [resize_square(image, generated.shape[-1], "bilinear") for image in images]
        images = torch.stack([resize_square(image, size, "bilinear") for image in small])
    made = torch.stack([resize_square(image.float() / 255, size, "bilinear") for image in generated])
    # a grade that was not generated has no say in how sharp generated images are
    weights = torch.tensor([(g in grades) / photographs.grades.count(g) for g in photographs.grades])
    shares = torch.tensor([1.0 / list(grades).count(g) for g in grades])
    wanted = _fine_energy(made, shares)
    low, high = 0.0, LARGEST_SIGMA
    if _fine_energy(images, weights) <= wanted:
        return images, 0.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        sharper = _fine_energy(_blur(images, middle), weights) > wanted
        low, high = (middle, high) if sharper else (low, middle)
    return _blur(images, high), high


def _blur(images: Tensor, sigma: float) -> Tensor:
    blur = GaussianFilter(2, sigma)
    return torch.cat([blur(part) for part in images.split(CHUNK)]).clamp(0, 1)


def _fine_energy(images: Tensor, weights: Tensor) -> float:
    energies = torch.cat([laplacian_pyramid(part, 2)[0].square().mean((1, 2, 3)) for part in images.split(CHUNK)])
    return float((energies * weights).sum() / weights.sum())
