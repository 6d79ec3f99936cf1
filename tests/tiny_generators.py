"""Every generator, tiny and untrained, with all its modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.data import CONDITION_KEYS, phantom_fundus
from monai_retina_gen.editing import Directions
from monai_retina_gen.editing.style.encoder_inversion import EncoderInversion
from monai_retina_gen.generators import (
    DRGANGenerator,
    GANGenerator,
    GeneratedBatch,
    PhantomGenerator,
    RenderedEyeGenerator,
    RetinaGenerator,
    StyleGAN3Generator,
    VAEGenerator,
)
from monai_retina_gen.generators.lesion_painting import LesionPainting
from monai_retina_gen.losses import LPIPSDR
from monai_retina_gen.networks import (
    DRGAN,
    DeconvolutionGenerator,
    FundusGrader,
    FundusVAE,
    ResidualGenerator,
    StyleEncoder,
    StyleGAN3,
)


def drgan(bank: Any = None) -> DRGANGenerator:
    """Synthesises; samples too with a bank."""
    made = DRGANGenerator(DRGAN(base_width=4, residual_blocks=1, grading_vectors=False), image_size=64)
    if bank is not None:
        made.set_lesion_bank(bank)
    return made


def stylegan3() -> StyleGAN3Generator:
    """Samples, and inverts and edits photographs of 32 px."""
    network = StyleGAN3(image_size=32, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
    size = network.style_space.size
    vector, one = torch.zeros(size), torch.ones(size)
    vector[network.style_space.index(9, 2)] = 30.0
    nothing: dict[str, Any] = {"channels": torch.tensor([], dtype=torch.long), "effects": {}, "spread": {}}
    directions = Directions({"ex": vector}, "sigma", one, one, -900 * one, 900 * one, **nothing)
    encoder = StyleEncoder(num_ws=network.num_ws, w_dim=8, channels=(4, 4, 8, 8, 8), pyramid=8, hidden=8)
    distance = LPIPSDR(network=FundusGrader(backbone="vgg16", width=0.125, num_classes=2))
    inverter = EncoderInversion(network, encoder, distance=distance, steps=1, one_sided=True)
    made = StyleGAN3Generator(network, one_sided=True)
    made.equip(inverter=inverter, directions=directions)
    return made


GENERATORS: dict[str, Callable[[], RetinaGenerator]] = {
    "vae": lambda: VAEGenerator(FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8))),
    "wgan": lambda: GANGenerator(DeconvolutionGenerator(image_size=32, latent_dim=4, width=4), curated=False),
    "wgan_gp": lambda: GANGenerator(ResidualGenerator(image_size=64, channels=(8, 8, 8, 8, 8), latent_dim=4)),
    "stylegan3": stylegan3,
    "drgan": drgan,
    "phantom": lambda: PhantomGenerator(image_size=32),
    "rendered": lambda: RenderedEyeGenerator(drgan(), image_size=32),
}


def call(generator: RetinaGenerator, mode: str) -> GeneratedBatch:
    """Two images of grades 2 and 3 in one of the generator's modes, from data on the CPU."""
    side, grades = generator.image_size, [2, 3]
    images = torch.stack([phantom_fundus(seed, grade=3, size=side).image for seed in (1, 2)])
    if mode == "sample":
        return generator.sample(grades, seeds=[4, 5])
    if mode == "synthesize":
        return generator.synthesize(
            {"vessel": images[:, :1], "fov": torch.ones(2, 1, side, side)}, grades, seeds=[4, 5]
        )
    if mode == "edit" and isinstance(generator, LesionPainting):  # it paints on 128 px and more
        eyes = [phantom_fundus(seed, grade=3, size=128) for seed in (1, 2)]
        masks = {name: torch.stack([eye.masks[name] for eye in eyes]) for name in CONDITION_KEYS}
        return generator.edit(torch.stack([eye.image for eye in eyes]), grades, lesion="ex", masks=masks)
    return generator.edit(images, grades, lesion="ex") if mode == "edit" else generator.reconstruct(images, grades)


def tensors(batch: GeneratedBatch) -> dict[str, Tensor]:
    """All tensors of a batch, by name."""
    return {"image": batch.image, "grade": batch.grade, **batch.masks}
