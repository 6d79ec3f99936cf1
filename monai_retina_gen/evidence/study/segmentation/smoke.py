"""Material of the preset `smoke`: a small synthesizer that was never trained."""

from __future__ import annotations

import torch

from monai_retina_gen.generators import DRGANGenerator
from monai_retina_gen.networks import DRGAN

__all__ = ["smoke_synthesizer"]

SMOKE_SIZE = 64


def smoke_synthesizer() -> DRGANGenerator:
    """A tiny DR-GAN with the same random weights on every machine: its images mean nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DRGAN(base_width=4, residual_blocks=1, grading_vectors=False)
        return DRGANGenerator(network, image_size=SMOKE_SIZE)
