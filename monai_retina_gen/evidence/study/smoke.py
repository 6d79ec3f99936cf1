"""Material of the presets `smoke`: phantoms, and generators that were never trained."""

from __future__ import annotations

from pathlib import Path

import torch

from monai_retina_gen.data import write_phantoms
from monai_retina_gen.generators import DRGANGenerator, VAEGenerator
from monai_retina_gen.networks import DRGAN, FundusVAE

__all__ = ["smoke_generator", "smoke_pairs", "smoke_phantoms", "smoke_synthesizer"]

GRADES = (0, 0, 1, 2, 2, 3, 4)
FILE_SIZE, SIZE = 72, 64  # the field of view is a little smaller than the file


def smoke_phantoms(folder: Path) -> str:
    """Write 60 phantoms of 72 px, if they are not there, and return the path of their datalist.

    Every grade occurs in every section, and grades 0 and 2 more often than the others.
    """
    path = folder / "datalist.json"
    if not path.is_file():
        write_phantoms(folder, count=60, size=FILE_SIZE, grades=GRADES, splits=(0.6, 0.2, 0.2), masks=False)
    return str(path)


def smoke_generator() -> VAEGenerator:
    """A tiny variational autoencoder with the same random weights on every machine: it draws grey blurs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VAEGenerator(FundusVAE(image_size=SIZE, latent_dim=8, channels=(8, 8, 16, 16)))


def smoke_pairs(folder: Path) -> Path:
    """20 phantoms, if they are not there: the field of view is a little smaller than the file."""
    path = folder / "datalist.json"
    return path if path.is_file() else write_phantoms(folder, count=20, size=72, grades=(3, 2, 4), splits=(0.6, 0, 0.4))


def smoke_synthesizer() -> DRGANGenerator:
    """A tiny DR-GAN with the same random weights on every machine: its images mean nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DRGAN(base_width=4, residual_blocks=1, grading_vectors=False)
        return DRGANGenerator(network, image_size=SIZE)
