"""Material of the preset `smoke`: phantoms, and a generator that was never trained."""

from __future__ import annotations

from pathlib import Path

import torch

from monai_retina_gen.data import write_phantoms
from monai_retina_gen.generators import VAEGenerator
from monai_retina_gen.networks import FundusVAE

__all__ = ["smoke_generator", "smoke_phantoms"]

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
