"""The whole path in minutes: photographs, a generator, a grader with and without it, a report.

By default it runs on phantoms (procedural eyes, one domain throughout) and needs no data and no bundle.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandFlipd, SelectItemsd
from monai.utils import set_determinism

from monai_retina_gen.data import Item, load_datalist, write_image, write_phantoms
from monai_retina_gen.data.files import begin_folder
from monai_retina_gen.engines import AutocastInferer, LatentOutputs, PrepareReconstructionBatch
from monai_retina_gen.evidence.report.report_page import report, sample_rows
from monai_retina_gen.evidence.study import StudyConfig, run_study
from monai_retina_gen.generators import RetinaGenerator, VAEGenerator
from monai_retina_gen.handlers import FitPriorHandler, ProgressHandler, image_grid
from monai_retina_gen.losses import ELBOLoss
from monai_retina_gen.networks import FundusVAE
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd

__all__ = ["print_table", "train_demo"]

logger = logging.getLogger(__name__)
PHANTOMS, PHANTOM_SETTINGS = 240, "phantoms.json"


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

    Args:
        out: folder of the results.
        datalist: datalist, data set name or folder; phantoms where it is left out.
        dataset_dir: folder of a named data set.
        image_size: side in pixels.
        vae_epochs: epochs of the generator.
        grader_epochs: epochs of each grader.
        seeds: graders per arm.
        device: where to train.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if datalist is None:
        logger.info("drawing %d phantom eyes (procedural drawings, not photographs)", PHANTOMS)
        datalist, dataset_dir = str(_phantoms(folder, image_size)), None
    whole = load_datalist(datalist, dataset_dir, require_grade=True)
    logger.info("training a small generator on %d images", len(whole["training"]))
    generator = train_quick_vae(whole["training"], image_size=image_size, epochs=vae_epochs, device=device)
    write_image(folder / "generated.png", _grid(generator))
    logger.info("training graders without and with generated images")
    config = StudyConfig(
        datalist=whole,
        out=str(folder / "study"),
        arms=("oversample", "sample"),
        batch_size=16,
        seeds=seeds,
        image_size=image_size,
        max_epochs=grader_epochs,
        bank_size=60,
        device=device,
        preset="demo",
    )
    result = run_study(config, {"quick_vae": generator})
    samples = sample_rows(generator, whole["validation"] or whole["training"])
    parts = {"study": folder / "study" / "study.json"}
    title = f"Demo on {whole['name']}: graders with and without generated images"
    report(parts, out=folder / "report.html", samples=samples, title=title)
    return result


def _phantoms(folder: Path, size: int) -> Path:
    datalist = folder / "phantoms" / "datalist.json"
    begin_folder(datalist.parent, {"size": size, "count": PHANTOMS}, name=PHANTOM_SETTINGS)
    if not datalist.is_file():
        write_phantoms(folder / "phantoms", count=PHANTOMS, size=size, seed=0, masks=False, splits=(0.6, 0.2, 0.2))
    return datalist


def _grid(generator: RetinaGenerator) -> torch.Tensor:
    grades = [g for g in range(generator.num_classes) if g not in generator.missing_grades for _ in range(8)]
    return image_grid(generator.sample(grades, seeds=range(len(grades))).image.cpu(), 8)


def print_table(result: dict[str, Any]) -> None:
    """Kappa and accuracy of both arms, and what may be concluded."""
    print("\noversample: classic augmentation, every grade equally often; sample: the same with generated images")
    print(f"{'arm':12} {'kappa':>24} {'accuracy':>24}   (test images, 95 % intervals)")
    for row in result["sets"]["test"]:
        print(f"{row['arm']:12} {_figure(row['kappa']):>24} {_figure(row['accuracy']):>24}")
    if result["primary"]:
        print(f"sample against oversample: {result['primary'].get('verdict', 'no conclusion')}\n")


def _figure(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "undefined"
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


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
    vae = (
        FundusVAE(image_size=image_size, latent_dim=64, channels=_CHANNELS[image_size])
        .to(device)
        .to(memory_format=torch.channels_last)
    )
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
