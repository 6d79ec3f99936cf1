"""Material of the preset `smoke`: phantoms, and a generator that was hardly trained."""

from __future__ import annotations

from pathlib import Path

import torch

from monai_retina_gen.data import load_datalist, write_phantoms
from monai_retina_gen.generators import VAEGenerator
from monai_retina_gen.networks import FundusVAE

from .photographs import load_photographs

__all__ = ["smoke_generator", "smoke_phantoms"]

FILE_SIZE, SIZE, STEPS = 72, 64, 20  # the field of view is a little smaller than the file


def smoke_phantoms(folder: Path) -> str:
    """Write 60 phantoms of 72 px, if they are not there, and return the path of their datalist.

    Every grade occurs in every section, and grades 0 and 2 more often than the others.
    """
    path = folder / "datalist.json"
    if not path.is_file():
        write_phantoms(
            folder, count=60, size=FILE_SIZE, grades=(0, 0, 1, 2, 2, 3, 4), splits=(0.6, 0.2, 0.2), masks=False
        )
    return str(path)


def smoke_generator(datalist: str) -> VAEGenerator:
    """A tiny variational autoencoder after a few steps on the training phantoms: it draws orange blurs."""
    items = load_datalist(datalist)["training"]
    images = load_photographs(items, SIZE, None, "phantoms").float_images
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = FundusVAE(image_size=SIZE, latent_dim=8, channels=(8, 8, 16, 16))
        optimizer = torch.optim.Adam(vae.parameters(), lr=3e-3)
        grades = torch.tensor([int(item["grade"]) for item in items])
        for _ in range(STEPS):
            rows = torch.randint(len(images), (8,))
            loss = (vae(images[rows], grades[rows]) - images[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return VAEGenerator(vae)
