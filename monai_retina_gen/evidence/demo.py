"""The demo: what the shipped generators make, on one page; and the whole path from photographs to a report."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandFlipd, SelectItemsd
from monai.utils import set_determinism
from torch import Tensor
from torch.nn.functional import avg_pool2d

from monai_retina_gen.data import LESION_MASKS, Item, load_datalist, phantom_fundus, write_image, write_phantoms
from monai_retina_gen.data.condition_map import draw_masks
from monai_retina_gen.data.files import begin_folder, write_atomically
from monai_retina_gen.data.plain_tensor import plain_tensor
from monai_retina_gen.editing import LabelGate
from monai_retina_gen.engines import AutocastInferer, LatentOutputs, PrepareReconstructionBatch
from monai_retina_gen.errors import BundleNotFoundError
from monai_retina_gen.generators import GeneratedBatch, VAEGenerator, load_generator
from monai_retina_gen.handlers import FitPriorHandler, ProgressHandler, image_grid
from monai_retina_gen.losses import ELBOLoss
from monai_retina_gen.networks import FundusVAE
from monai_retina_gen.networks.inputs import resized
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd
from monai_retina_gen.transforms.segmenting.segment import find_images
from monai_retina_gen.weights import CHECKPOINT, bundle_search_path, find_bundle

from .report.html import (
    Cell,
    code,
    figure,
    interval_text,
    page,
    paragraph,
    section,
    table,
    warnings,
)
from .report.report_page import report, sample_rows
from .study import StudyConfig, run_study

logger = logging.getLogger(__name__)
PAINTER, DRAWER = "retina_lesion_painter", "retina_drgan"
SAMPLED = (DRAWER, "retina_vae", "retina_stylegan3", "retina_wgan_gp", "retina_wgan")
GRADES, SIZE, EYES, TILE, CLOSE, SMALLEST = (1, 2, 3), 512, 2, 320, 160, 128
EYE, LESIONS = 31, 3
"""Seeds of the first drawn eye, README's, and of its lesions."""
BRIGHTENED = 0.85
"""Exponent for drawn eyes, so that lesions show on a screen and in print."""
CAUTION = (
    "Nothing here is for clinical use: painted eyes are not patients, and a label that was asked for is no diagnosis."
)
READING = (
    "Expected grade: mean over the probabilities of the label gate's graders, which learned from photographs. A "
    "painting passes where that is no farther from the grade asked for than it is for nine in ten photographs of it. "
    "Grade 1 is microaneurysms alone, dots of a few pixels, which graders hardly see."
)
MASK_LEGEND = (
    "Masks: microaneurysms magenta, haemorrhages red, hard exudates yellow, soft exudates pale blue; vessels and optic "
    "disc in grey and beige."
)
Cost = tuple[str, str, float]
"""Generator, what it made, and seconds an image."""
PHANTOMS, PHANTOM_SETTINGS = 240, "phantoms.json"


def demo(out: str | Path, *, images: Sequence[str] = (), seed: int = 0, device: str = "cpu") -> dict[str, Any]:
    """Paint lesions on healthy eyes, sample every generator, and write `out/demo.html`.

    The eyes are the first two of `images`, photographs or folders of them; by default `drawn_eye` draws them.
    Returns `painted` (a row an eye and grade: what the gate says) and `costs` (a row a generator), as on the page.

    Raises:
        BundleNotFoundError: if a bundle that paints, draws or judges is not found.
        ImageValueError: for photographs that cannot be painted.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    painter, costs = load_generator(PAINTER, device=device), list[Cost]()
    items = find_images(images)[:EYES] if images else []
    eyes: list[tuple[str, Tensor, dict[str, Tensor] | None]] = [
        (Path(item["image"]).name, _photograph(item).to(device), None) for item in items
    ]
    eyes = eyes or [(f"drawn eye {i + 1}", *drawn_eye(EYE + seed + i, device=device)) for i in range(EYES)]
    rows, pictures, n = list[list[Cell]](), [], len(GRADES)
    for i, (name, eye, own) in enumerate(eyes):
        logger.info("painting %s", name)
        start, canvas = time.perf_counter(), eye.expand(n, -1, -1, -1)
        masks = own and {key: mask.expand(n, -1, -1, -1) for key, mask in own.items()}
        batch = painter.synthesize(masks, list(GRADES), seeds=[LESIONS + seed + i] * n, canvas=canvas)
        costs.append((PAINTER, f"painting, {SIZE} px", (time.perf_counter() - start) / n))
        rows += _verdicts(name, eye, batch)
        write_image(folder / f"painted_{i}.png", _sheet(eye, batch))
        caption = f"{name} | painted to grades {', '.join(map(str, GRADES))}; close-ups; the masks that come with them"
        pictures.append(figure(folder / f"painted_{i}.png", caption))
    samples = _samples(folder, seed, device, costs)
    said = ["eye", "grade asked", "expected grade", "probability of the grade asked", "label gate"]
    spent: list[list[Cell]] = [[name, what, _time(seconds)] for name, what, seconds in costs]
    parts = [
        warnings([CAUTION]),
        section(
            "Lesions painted on healthy eyes", *pictures, paragraph(MASK_LEGEND), paragraph(READING), table(said, rows)
        ),
        section("Samples of each generator, grades 0 to 4", *samples),
        section("Time per image", table(["generator", "what", "time"], spent)),
        section("Next, with your own photographs in folders named 0 to 4", code(NEXT)),
    ]
    write_atomically(folder / "demo.html", page("monai_retina_gen: what it makes", parts))
    return {"painted": rows, "costs": costs}


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _photograph(item: Item) -> Tensor:
    crop = CropToFieldOfViewd(keys="image", size=SIZE, allow_upsampling=True)
    return plain_tensor(crop(LoadFundusd(keys="image")({"image": item["image"]}))["image"])[None]


def drawn_eye(seed: int, *, device: str = "cpu") -> tuple[Tensor, dict[str, Tensor]]:
    """A healthy eye that is nobody's `(1, 3, 512, 512)`, and its masks `(1, 1, 512, 512)`, on the device.

    Vessels and disc are a phantom's; `retina_drgan` draws the eye at 256 px.
    """
    found = phantom_fundus(seed, grade=0, size=SIZE).masks
    masks = {key: found[key][None].to(device) for key in ("vessel", "od", "fov")}
    network = load_generator(DRAWER, device=device)
    small = {key: resized(mask, network.image_size) for key, mask in masks.items()}
    drawn = network.synthesize(small, [0], seeds=[seed]).image
    return resized(drawn, SIZE) ** BRIGHTENED, masks


def _verdicts(name: str, eye: Tensor, batch: GeneratedBatch) -> list[list[Cell]]:
    """A row for the eye as it was and one a painting: what the graders see, and whether the gate lets it pass."""
    gate, grades = LabelGate(), list(GRADES)
    before, *after = gate.probabilities(torch.cat([eye, batch.image]))
    reasons = gate.check(batch.image, grades).reasons
    return [
        [name, "as it was", _expected(before), "", ""],
        *(
            [name, grade, _expected(seen), f"{seen[grade]:.2f}", record.options.get("refused") or reason or "passes"]
            for grade, seen, reason, record in zip(grades, after, reasons, batch.records, strict=True)
        ),
    ]


def _expected(probabilities: Tensor) -> str:
    return f"{float(probabilities @ torch.arange(len(probabilities)).to(probabilities)):.1f}"


def _sheet(eye: Tensor, batch: GeneratedBatch) -> Tensor:
    """The eye and its paintings, a close-up of each, and the masks of the paintings."""
    masks = {name: mask.cpu() for name, mask in (batch.masks or {}).items()}
    eyes, lesions = torch.cat([eye, batch.image]).cpu(), draw_masks(masks)
    rows = [eyes, _close_up(eyes, masks), torch.cat([torch.zeros_like(lesions[:1]), lesions])]
    return image_grid(torch.cat([resized(row, TILE) for row in rows]), len(eyes))


def _close_up(eyes: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
    """Where the last painting has most lesions."""
    lesions = torch.cat([masks[name][-1:] for name in LESION_MASKS if name in masks]).sum(0)
    dense = avg_pool2d(lesions, CLOSE, stride=1)[0]
    top, left = divmod(int(dense.argmax()), dense.shape[1])
    return eyes[:, :, top : top + CLOSE, left : left + CLOSE]


def _samples(folder: Path, seed: int, device: str, costs: list[Cost]) -> list[str]:
    """A picture for each generator that is at hand, one sample a grade; adds what each cost."""
    pictures = []
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
        costs.append((name, f"sample, {generator.image_size} px", (time.perf_counter() - start) / len(grades)))
        by_grade = images.new_ones(generator.num_classes, *images.shape[1:])  # white where a grade is missing
        by_grade[grades] = images
        side = max(generator.image_size, SMALLEST)
        write_image(folder / f"{name}.png", image_grid(resized(by_grade, side), len(by_grade)))
        missing = "".join(f", no grade {grade}" for grade in sorted(generator.missing_grades))
        pictures.append(
            figure(
                folder / f"{name}.png",
                f"{name}, {generator.image_size} px{', enlarged' * (side > generator.image_size)}{missing}",
            )
        )
    return pictures or [paragraph(f"No generator found in {', '.join(map(str, bundle_search_path()))}.")]


NEXT = (
    "monai-retina-gen datalist folder PHOTOGRAPHS --out my.json",
    "monai-retina-gen demo --images PHOTOGRAPHS/0",
    f"monai-retina-gen expand --datalist my.json --generator {PAINTER} --canvas my.json --counts 2:100 3:100 "
    "--out painted",
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
