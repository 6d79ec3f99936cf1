"""Presets: settings of the published evaluations, one for two CPU cores, and one for tests with what it works with.

What a paper does not give is the default of `StudyConfig`, and `oversample` is in every preset, because the comparison
that a study is made for is against it; the papers compare with less.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from monai_retina_gen.data import write_phantoms
from monai_retina_gen.generators import DRGANGenerator, VAEGenerator
from monai_retina_gen.networks import DRGAN, FundusVAE

PRESETS: dict[str, dict[str, Any]] = {
    # Zhao et al. 2023, section 3 "Experimental Settings": VGG16, learning rate 0.001; Table 2: none, flipping, rotation
    # by 30 degrees, edits of exudates in grades 2-4 with a strength in (-0.6, 0.6). Grades 0-4 as for APTOS; for the
    # paper's ODIR-5K columns (DR or not) add --grade-map binary. Images have 256 px.
    "zhao2023": {
        "arms": ("none", "flip", "rotate", "oversample", "reconstruct", "texture-matched", "sample", "edit"),
        "graders": ("vgg16",),
        "image_size": 256,
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "lesions": ("ex",),
        "strength": (-0.6, 0.6),
        "step": "mu",
    },
    # Zhou et al., section IV-D and Tables III-V: VGG-16, ResNet-50 and Inception-v3, trained on photographs with and
    # without synthesised images; flips and rotation are named as the usual augmentation in the abstract. The grader's
    # hyper-parameters are not given; learning rate and batch are those that section IV-A gives for the generator. The
    # paper's 1280 px are --image-size 1280 on a GPU.
    "drgan": {
        "arms": ("none", "classic", "oversample", "reconstruct", "texture-matched", "sample", "synthesize"),
        "graders": ("vgg16", "resnet50", "inception_v3"),
        "image_size": 256,
        "learning_rate": 1e-4,
        "batch_size": 16,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
    },
    # Cheng and Ye, Table 1 and the section on evaluation: ResNet-101 and DenseNet-121, batch 64, learning rate 0.0001,
    # 40 epochs, 64 px; none, classic, classic + GAN; the recipe of "Classic Data Augmentation".
    "cheng2021": {
        "arms": ("none", "classic", "oversample", "reconstruct", "texture-matched", "sample"),
        "graders": ("resnet101", "densenet121"),
        "image_size": 64,
        "max_epochs": 40,
        "batch_size": 64,
        "learning_rate": 1e-4,
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "classic": "cheng2021",
    },
    # Manasa and Morampudi, section V: 100 generated images of every class, used with the photographs; "a CNN" without
    # any detail. Its data are APTOS, grades 0-4.
    "manasa": {
        "arms": ("none", "oversample", "reconstruct", "texture-matched", "sample", "sample-uniform"),
        "graders": ("resnet18",),
        "bank_size": 100,
    },
    # What graders that can see reach: EfficientNet-Lite1 from ImageNet (extra `pretrained`), which teaches and judges
    # nothing else here. The baselines alone; other arms are added by --arms.
    "imagenet": {
        "arms": ("none", "oversample"),
        "graders": ("efficientnet_lite1",),
        "init_weights": "imagenet",
        "image_size": 224,
        "max_epochs": 20,
        "batch_size": 32,
    },
    # Hours on two cores.
    "cpu": {
        "arms": ("none", "classic", "oversample", "reconstruct", "texture-matched", "sample", "edit", "synthesize"),
        "lesions": ("ex", "he"),
    },
    # A test that everything runs; its figures mean nothing.
    "smoke": {
        "arms": ("none", "oversample", "reconstruct", "texture-matched", "sample", "edit"),
        "seeds": 2,
        "image_size": 48,
        "max_epochs": 1,
        "batch_size": 16,
        "bank_size": 6,
    },
}
"""Settings by preset; all of them can be overridden."""


SIZE = 64


SMOKE_PHANTOMS: dict[str, dict[str, Any]] = {
    "grading": {"count": 60, "grades": (0, 0, 1, 2, 2, 3, 4), "splits": (0.6, 0.2, 0.2), "masks": False},
    "segmentation": {"count": 20, "grades": (3, 2, 4), "splits": (0.6, 0.0, 0.4)},
}


def smoke_phantoms(folder: Path, task: str) -> str:
    """Write phantoms, if they are not there; returns the path of their datalist."""
    path = folder / "datalist.json"
    if not path.is_file():  # the field of view is a little smaller than the file
        write_phantoms(folder, size=72, **SMOKE_PHANTOMS[task])
    return str(path)


def smoke_generator() -> VAEGenerator:
    """A tiny variational autoencoder with the same random weights on every machine: it draws grey blurs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VAEGenerator(FundusVAE(image_size=SIZE, latent_dim=8, channels=(8, 8, 16, 16)))


def smoke_synthesizer() -> DRGANGenerator:
    """A tiny DR-GAN with the same random weights on every machine: its images mean nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DRGAN(base_width=4, residual_blocks=1, grading_vectors=False)
        return DRGANGenerator(network, image_size=SIZE)
