"""The demo: what the shipped generators make, on one page; and the whole path from photographs to a report."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandFlipd, SelectItemsd
from monai.utils import set_determinism
from torch import Tensor

from monai_retina_gen.data import Item, load_datalist, write_image, write_phantoms
from monai_retina_gen.data.condition_map import draw_masks
from monai_retina_gen.data.files import begin_folder, write_atomically
from monai_retina_gen.editing import LabelGate
from monai_retina_gen.engines import AutocastInferer, LatentOutputs, PrepareReconstructionBatch
from monai_retina_gen.errors import BundleNotFoundError
from monai_retina_gen.evidence.evaluation.image_sets import load_eye
from monai_retina_gen.evidence.report.html import Cell, figure, interval_text, page, paragraph, section, table, warnings
from monai_retina_gen.evidence.report.pictures import labelled_rows
from monai_retina_gen.evidence.report.report_page import report, sample_rows
from monai_retina_gen.evidence.study import StudyConfig, run_study
from monai_retina_gen.generators import GeneratedBatch, VAEGenerator, load_generator
from monai_retina_gen.handlers import FitPriorHandler, ProgressHandler, image_grid
from monai_retina_gen.losses import ELBOLoss
from monai_retina_gen.networks import FundusVAE
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd
from monai_retina_gen.transforms.segmenting.segment import find_images
from monai_retina_gen.weights import CHECKPOINT, bundle_search_path, find_bundle

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
PHANTOMS, PHANTOM_SETTINGS = 240, "phantoms.json"


def demo(out: str | Path, *, images: Sequence[str] = (), seed: int = 0, device: str = "cpu") -> dict[str, Any]:
    """Paint lesions on healthy eyes, sample every generator, and write `out/demo.html`.

    The eyes are the first two of `images`, photographs or folders of them; by default `retina_drgan` draws them.
    Returns `painted` (a row an eye and grade: what the gate says) and `costs` (a row a generator), as on the page.

    Raises:
        BundleNotFoundError: if a bundle that paints, draws or judges is not found.
        ImageValueError: for photographs that cannot be painted.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    painter, costs = load_generator(DRAWER, device=device), list[list[Cell]]()
    if images:
        items = find_images(images)[:EYES]
        names, masks = [Path(item["image"]).name for item in items], dict[str, Tensor]()
        canvases = torch.stack([load_eye(item, SIZE)["image"] for item in items])
    else:  # healthy eyes that are nobody's, with the masks that they were drawn from
        eyes = painter.sample([0] * EYES, seeds=range(seed, seed + EYES))
        names, canvases, masks = [f"drawn eye {i + 1}" for i in range(EYES)], eyes.image, dict(eyes.masks or {})
    rows, pictures = [], []
    for i, name in enumerate(names):
        logger.info("painting %s", name)
        eye, n, start = canvases[i : i + 1].to(device), len(GRADES), time.perf_counter()
        own = {key: mask[i : i + 1].expand(n, -1, -1, -1) for key, mask in masks.items()} or None
        canvas, seeds = eye.expand(n, -1, -1, -1), range(seed, seed + n)
        batch = painter.synthesize(own, list(GRADES), seeds=seeds, canvas=canvas)
        what = f"painting, grades {GRADES[0]}-{GRADES[-1]} on one eye, {SIZE} px"
        costs += [[DRAWER, what, (time.perf_counter() - start) / n]]
        rows += _verdicts(name, batch)
        write_image(folder / f"painted_{i}.png", _sheet(eye, batch))
        pictures.append(figure(folder / f"painted_{i}.png", f"{name} | painted to the grade at its left | lesions"))
    samples = _samples(folder, seed, device, costs)
    said = ["eye", "grade asked", "graders say", "probability of the grade asked", "label gate"]
    spent: list[list[Cell]] = [[name, what, f"{seconds:.2f} s"] for name, what, seconds in costs]
    parts = [
        warnings([CAUTION]),
        section("Lesions painted on healthy eyes", *pictures, paragraph(READING), table(said, rows)),
        section("Samples of each generator", *samples),
        section("Time per image", table(["generator", "what", "time"], spent)),
        section("Next, with your own photographs in folders named 0 to 4", *map(paragraph, NEXT)),
    ]
    write_atomically(folder / "demo.html", page("monai_retina_gen: what it makes", parts))
    return {"painted": rows, "costs": costs}


def _verdicts(name: str, batch: GeneratedBatch) -> list[list[Cell]]:
    """A row a painting: what was asked, what the graders see, and whether the gate lets it pass."""
    gate, grades = LabelGate(), list(GRADES)
    verdict, found = gate.check(batch.image, grades), gate.probabilities(batch.image)
    return [
        [name, grade, int(seen.argmax()), f"{seen[grade]:.2f}", record.options.get("refused") or reason or "passes"]
        for grade, seen, reason, record in zip(grades, found, verdict.reasons, batch.records, strict=True)
    ]


def _sheet(eye: Tensor, batch: GeneratedBatch) -> Tensor:
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


NEXT = (
    "monai-retina-gen datalist folder PHOTOGRAPHS --out my.json",
    "monai-retina-gen demo --images PHOTOGRAPHS/0",
    f"monai-retina-gen expand --datalist my.json --generator {DRAWER} --balance --out bank",
)


def train_demo(
    out: str | Path,
    *,
    datalist: str | None = None,
    dataset_dir: str | None = None,
    image_size: int = 64,
    vae_epochs: int = 25,
    grader_epochs: int = 12,
    seeds: int = 2,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train a small VAE and graders with and without its images; write `out/report.html`; returns the study's result.

    Without a `datalist` it draws phantoms: procedural eyes, one domain throughout.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if datalist is None:
        logger.info("drawing %d phantom eyes (procedural drawings, not photographs)", PHANTOMS)
        path = folder / "phantoms" / "datalist.json"
        begin_folder(path.parent, {"size": image_size, "count": PHANTOMS}, name=PHANTOM_SETTINGS)
        if not path.is_file():
            write_phantoms(path.parent, count=PHANTOMS, size=image_size, seed=0, masks=False, splits=(0.6, 0.2, 0.2))
        datalist, dataset_dir = str(path), None
    whole = load_datalist(datalist, dataset_dir, require_grade=True)
    logger.info("training a small generator on %d images", len(whole["training"]))
    generator = train_quick_vae(whole["training"], image_size=image_size, epochs=vae_epochs, device=device)
    grades = [g for g in range(generator.num_classes) if g not in generator.missing_grades for _ in range(8)]
    images = generator.sample(grades, seeds=range(len(grades))).image
    write_image(folder / "generated.png", image_grid(images.cpu(), 8))
    logger.info("training graders without and with generated images")
    settings: dict[str, Any] = {"arms": ("oversample", "sample"), "batch_size": 16, "bank_size": 60, "preset": "demo"}
    settings |= {"seeds": seeds, "image_size": image_size, "max_epochs": grader_epochs, "device": device}
    config = StudyConfig(datalist=whole, out=str(folder / "study"), **settings)
    result = run_study(config, {"quick_vae": generator})
    samples = sample_rows(generator, whole["validation"] or whole["training"])
    parts = {"study": folder / "study" / "study.json"}
    title = f"Demo on {whole['name']}: graders with and without generated images"
    report(parts, out=folder / "report.html", samples=samples, title=title)
    return result


def print_table(result: dict[str, Any]) -> None:
    """Kappa and accuracy of both arms, and what may be concluded."""
    print("\noversample: classic augmentation, every grade equally often; sample: the same with generated images")
    print(f"{'arm':12} {'kappa':>24} {'accuracy':>24}   (test images, 95 % intervals)")
    for row in result["sets"]["test"]:
        print(f"{row['arm']:12} {interval_text(row['kappa']):>24} {interval_text(row['accuracy']):>24}")
    if result["primary"]:
        print(f"sample against oversample: {result['primary'].get('verdict', 'no conclusion')}\n")


# Half the widths of the bundle's network: enough for a look, and a minute on a CPU.
_CHANNELS = {64: (16, 32, 64, 96), 128: (8, 16, 32, 64, 96), 256: (8, 8, 16, 32, 64, 96)}


def train_quick_vae(
    items: Sequence[Item], *, image_size: int = 64, epochs: int = 40, device: str = "cpu", seed: int = 0
) -> VAEGenerator:
    """A class-conditional variational autoencoder of photographs of side 64, 128 or 256: `retina_vae` in small."""
    if image_size not in _CHANNELS:
        raise ValueError(f"image_size {image_size}: choose 64, 128 or 256")
    set_determinism(seed)
    loading = [LoadFundusd(keys="image"), CropToFieldOfViewd(keys="image", size=image_size)]
    flips = RandFlipd(keys="image", prob=0.5, spatial_axis=1)
    transform = Compose([*loading, SelectItemsd(keys=("image", "grade")), flips])
    batches = DataLoader(CacheDataset(items, transform, progress=False), batch_size=16, shuffle=True)
    vae = FundusVAE(image_size=image_size, latent_dim=64, channels=_CHANNELS[image_size]).to(device)
    vae = vae.to(memory_format=torch.channels_last)
    network = LatentOutputs(vae)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    trainer = SupervisedTrainer(
        device=torch.device(device),
        max_epochs=epochs,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        loss_function=ELBOLoss(kl_weight=0.02),
        inferer=AutocastInferer(),
        prepare_batch=PrepareReconstructionBatch(drop_grade=0.1),
        train_handlers=[ProgressHandler(interval=10), FitPriorHandler(vae=vae, data=batches, interval=epochs)],
        decollate=False,
    )
    trainer.run()
    set_determinism(None)
    generator = VAEGenerator(vae)
    generator.identify(name="quick_vae", version="0", weights_sha256="not saved")
    return generator
