"""A small variational autoencoder trained in a minute, for the demo: the parts of `retina_vae`, without its bundle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandFlipd, SelectItemsd
from monai.utils import set_determinism

from monai_retina_gen.data import Item
from monai_retina_gen.engines import AutocastInferer, LatentOutputs, PrepareReconstructionBatch
from monai_retina_gen.generators import VAEGenerator
from monai_retina_gen.handlers import FitPriorHandler, ProgressHandler
from monai_retina_gen.losses import ELBOLoss
from monai_retina_gen.networks import FundusVAE
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd

__all__ = ["train_quick_vae"]

# Half the widths of the bundle's network: enough for a look, and a minute on a CPU.
_CHANNELS = {64: (16, 32, 64, 96), 128: (8, 16, 32, 64, 96), 256: (8, 8, 16, 32, 64, 96)}


def train_quick_vae(
    items: Sequence[Item], *, image_size: int = 64, epochs: int = 40, device: str = "cpu", seed: int = 0
) -> VAEGenerator:
    """Train a class-conditional variational autoencoder on graded photographs.

    Args:
        items: datalist items with `image` and `grade`.
        image_size: side in pixels: 64, 128 or 256.
        epochs: passes over the items.
        device: where to train.
        seed: of the initialisation and the batches.

    Returns:
        A generator with the modes `sample` and `reconstruct`.
    """
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
