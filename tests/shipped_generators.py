"""The generators of the bundles at their shipped sizes: with the shipped weights where they are, else untrained."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.generators import RetinaGenerator, load_generator
from monai_retina_gen.weights import build_from_bundle

NAMES = ["retina_vae", "retina_wgan", "retina_wgan_gp", "retina_drgan", "retina_stylegan3"]


def shipped(bundle: Path) -> RetinaGenerator:
    """The bundle's generator."""
    try:
        return load_generator(bundle)
    except WeightsError:
        torch.manual_seed(0)
        generator = build_from_bundle(bundle, "generator")
        assert isinstance(generator, RetinaGenerator)
        generator.network.requires_grad_(False)
        return generator


def images(generator: RetinaGenerator, count: int) -> Tensor:
    """`count` images of grade 2: samples, or drawn of a disc and a field of view."""
    grades, side = [2] * count, generator.image_size
    if "sample" in generator.modes:
        options = {} if not hasattr(generator, "curated") or generator.conditional else {"curated": False}
        return generator.sample(grades, seeds=range(count), **options).image
    masks = {"fov": torch.ones(count, 1, side, side), "od": torch.zeros(count, 1, side, side)}
    masks["od"][:, :, side // 2 :, side // 2 :] = 1.0
    return generator.synthesize(masks, grades, seeds=range(count)).image
