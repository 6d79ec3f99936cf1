"""Lesions painted on healthy eyes, what the label gate says of them, and samples of every generator.

Nothing is trained and no data are needed: the shipped bundles draw the eyes, or `--images` names photographs.
`training` goes the whole way instead.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import write_image
from monai_retina_gen.data.condition_map import draw_masks
from monai_retina_gen.data.files import write_atomically
from monai_retina_gen.editing import LabelGate
from monai_retina_gen.errors import BundleNotFoundError
from monai_retina_gen.evidence.evaluation.image_sets import load_eye
from monai_retina_gen.evidence.report.html import Cell, figure, page, paragraph, section, table, warnings
from monai_retina_gen.evidence.report.pictures import labelled_rows
from monai_retina_gen.generators import GeneratedBatch, RetinaGenerator, load_generator
from monai_retina_gen.transforms.segmenting.segment import find_images
from monai_retina_gen.weights import CHECKPOINT, bundle_search_path, find_bundle

__all__ = ["NEXT", "demo"]

logger = logging.getLogger(__name__)
DRAWER = "retina_drgan"
SAMPLED = (DRAWER, "retina_vae", "retina_stylegan3", "retina_wgan_gp", "retina_wgan")
GRADES, SIZE, EYES = (1, 2, 3), 256, 2
CAUTION = (
    "Nothing here is for clinical use: painted eyes are not patients, and a label that was asked for is no diagnosis."
)
READING = (
    "Grade 1 is microaneurysms alone, dots of a pixel or two. The graders of the label gate learned from photographs: "
    "a painting passes where the grade that they expect is no farther from the grade asked for than it is for nine in "
    "ten photographs of that grade."
)


def demo(out: str | Path, *, images: Sequence[str] = (), seed: int = 0, device: str = "cpu") -> dict[str, Any]:
    """Paint lesions on healthy eyes, sample every generator, and write `out/demo.html`.

    Args:
        out: folder of the page and its pictures.
        images: photographs of healthy eyes, or folders of them, of which the first two are taken; eyes drawn by
            `retina_drgan` where none are named.
        seed: of the drawn eyes and of the lesions.
        device: where the networks run.

    Returns:
        `painted` (a row an eye and grade: what the gate says) and `costs` (a row a generator), as on the page.

    Raises:
        BundleNotFoundError: if a bundle that paints, draws or judges is not found.
        ImageValueError: for photographs that cannot be painted.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    painter, costs = load_generator(DRAWER, device=device), list[list[Cell]]()
    names, canvases, masks = _photographs(images) if images else _drawn(painter, seed)
    rows, pictures = [], []
    for i, name in enumerate(names):
        logger.info("painting %s", name)
        eye, own = canvases[i : i + 1].to(device), {key: mask[i : i + 1] for key, mask in masks.items()}
        batch, seconds = _painted(painter, eye, own, seed)
        costs += [[DRAWER, f"painting, grades {GRADES[0]}-{GRADES[-1]} on one eye, {SIZE} px", seconds / len(GRADES)]]
        rows += _verdicts(name, batch)
        write_image(folder / f"painted_{i}.png", _sheet(eye, batch))
        pictures.append(figure(folder / f"painted_{i}.png", f"{name} | painted to the grade at its left | lesions"))
    samples = _samples(folder, seed, device, costs)
    write_atomically(folder / "demo.html", _page(rows, pictures, samples, costs))
    return {"painted": rows, "costs": costs}


def _drawn(drawer: RetinaGenerator, seed: int) -> tuple[list[str], Tensor, dict[str, Tensor]]:
    """Healthy eyes that are nobody's, with the masks that they were drawn from."""
    eyes = drawer.sample([0] * EYES, seeds=range(seed, seed + EYES))
    assert eyes.masks is not None  # retina_drgan draws from masks
    return [f"drawn eye {i + 1}" for i in range(EYES)], eyes.image, dict(eyes.masks)


def _photographs(images: Sequence[str]) -> tuple[list[str], Tensor, dict[str, Tensor]]:
    items = find_images(images)[:EYES]
    return [Path(i["image"]).name for i in items], torch.stack([load_eye(i, SIZE)["image"] for i in items]), {}


def _painted(painter: RetinaGenerator, eye: Tensor, own: dict[str, Tensor], seed: int) -> tuple[GeneratedBatch, float]:
    n, start = len(GRADES), time.perf_counter()
    masks = {name: mask.expand(n, -1, -1, -1) for name, mask in own.items()} or None
    canvas, seeds = eye.expand(n, -1, -1, -1), range(seed, seed + n)
    batch = painter.synthesize(masks, list(GRADES), seeds=seeds, canvas=canvas)
    return batch, time.perf_counter() - start


def _verdicts(name: str, batch: GeneratedBatch) -> list[list[Cell]]:
    """A row a painting: what was asked, what the graders see, and whether the gate lets it pass."""
    gate, grades = LabelGate(), list(GRADES)
    verdict, found = gate.check(batch.image, grades), gate.probabilities(batch.image)
    return [
        [name, grade, int(seen.argmax()), f"{seen[grade]:.2f}", record.options.get("refused") or reason or "passes"]
        for grade, seen, reason, record in zip(grades, found, verdict.reasons, batch.records, strict=True)
    ]


def _sheet(eye: Tensor, batch: GeneratedBatch) -> Tensor:
    assert batch.masks is not None  # paintings come with theirs
    lesions = draw_masks(batch.masks)
    rows = [(f"grade {g}", torch.cat([eye, batch.image[i : i + 1], lesions[i : i + 1]])) for i, g in enumerate(GRADES)]
    return labelled_rows([(words, images.cpu()) for words, images in rows], columns=3, tile=SIZE)


def _samples(folder: Path, seed: int, device: str, costs: list[list[Cell]]) -> list[str]:
    """One row a generator that is at hand, one sample a grade; adds what each cost."""
    rows = []
    for name in SAMPLED:
        try:
            bundle = find_bundle(name, download=False)
        except BundleNotFoundError:
            continue
        if not (bundle / CHECKPOINT).is_file():  # configurations alone
            continue
        logger.info("sampling %s", name)
        generator = load_generator(bundle, device=device)
        grades = [grade for grade in range(generator.num_classes) if grade not in generator.missing_grades]
        start = time.perf_counter()
        images = generator.sample(grades, seeds=range(seed, seed + len(grades))).image.cpu()
        by_grade = images.new_ones(generator.num_classes, *images.shape[1:])  # white where a grade is missing
        by_grade[grades] = images
        size = f"{generator.image_size} px"
        costs.append([name, f"sample, {size}", (time.perf_counter() - start) / len(grades)])
        rows.append((f"{name}\n{size}\ngrades {', '.join(map(str, grades))}", by_grade))
    if not rows:
        return [paragraph(f"No generator found in {', '.join(map(str, bundle_search_path()))}.")]
    write_image(folder / "samples.png", labelled_rows(rows, columns=5, tile=128))
    return [figure(folder / "samples.png", "Grades 0 to 4 from left to right; generators of 64 px are shown enlarged")]


def _page(rows: Sequence[Sequence[Cell]], painted: list[str], samples: list[str], costs: list[list[Cell]]) -> str:
    said = ["eye", "grade asked", "graders say", "probability of the grade asked", "label gate"]
    spent = [[name, what, f"{seconds:.2f} s"] for name, what, seconds in costs]
    return page(
        "monai_retina_gen: what it makes",
        [
            warnings([CAUTION]),
            section("Lesions painted on healthy eyes", *painted, paragraph(READING), table(said, rows)),
            section("Samples of each generator", *samples),
            section("Time per image", table(["generator", "what", "time"], spent)),
            section("Next, with your own photographs in folders named 0 to 4", *map(paragraph, NEXT)),
        ],
    )


NEXT = (
    "monai-retina-gen datalist folder PHOTOGRAPHS --out my.json",
    "monai-retina-gen demo --images PHOTOGRAPHS/0",
    f"monai-retina-gen expand --datalist my.json --generator {DRAWER} --balance --out bank",
)
