"""Losses and penalties. A feature network comes in as an argument."""

from monai_retina_gen.losses.adversarial_step import AdversarialStep
from monai_retina_gen.losses.class_weights import class_weights
from monai_retina_gen.losses.elbo import ELBOLoss, kl_divergence
from monai_retina_gen.losses.focal import GradeFocalLoss
from monai_retina_gen.losses.lesion_loss import LesionLoss
from monai_retina_gen.losses.lpips_dr import LPIPSDR, FeatureMaps
from monai_retina_gen.losses.penalties import GradientPenalty, Penalty, R1Penalty, WeightClipping
from monai_retina_gen.losses.perceptual_backbones import ImageNetLPIPS, VGG19Features
from monai_retina_gen.losses.perceptual_pairing import PAIRINGS, PerceptualPairing
from monai_retina_gen.losses.real_queue import RealQueue
from monai_retina_gen.losses.wasserstein import NonSaturatingLoss, WassersteinLoss

__all__ = [
    "LPIPSDR",
    "PAIRINGS",
    "AdversarialStep",
    "ELBOLoss",
    "FeatureMaps",
    "GradeFocalLoss",
    "GradientPenalty",
    "ImageNetLPIPS",
    "LesionLoss",
    "NonSaturatingLoss",
    "Penalty",
    "PerceptualPairing",
    "R1Penalty",
    "RealQueue",
    "VGG19Features",
    "WassersteinLoss",
    "WeightClipping",
    "class_weights",
    "kl_divergence",
]
