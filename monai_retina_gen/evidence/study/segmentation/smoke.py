"""Material of the preset `smoke`: annotated phantoms, and a small synthesizer that was never trained."""

from __future__ import annotations

from pathlib import Path

import torch

from monai_retina_gen.data import write_phantoms
from monai_retina_gen.generators import DRGANGenerator
from monai_retina_gen.networks import DRGAN

__all__ = ["smoke_pairs", "smoke_synthesizer"]

SMOKE_SIZE = 64


def smoke_pairs(folder: Path) -> Path:
    """20 phantoms, if they are not there: the field of view is a little smaller than the file."""
    path = folder / "datalist.json"
    return path if path.is_file() else write_phantoms(folder, count=20, size=72, grades=(3, 2, 4), splits=(0.6, 0, 0.4))


def smoke_synthesizer() -> DRGANGenerator:
    """A tiny DR-GAN with the same random weights on every machine: its images mean nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DRGAN(base_width=4, residual_blocks=1, grading_vectors=False)
        return DRGANGenerator(network, image_size=SMOKE_SIZE)
