"""Losses and penalties. A feature network comes in as an argument."""

from monai_retina_gen.losses.adversarial import (
    HingeLoss,
    LeastSquaresLoss,
    MultiScaleAdversarialLoss,
    NonSaturatingLoss,
    WassersteinLoss,
    WeightedHinge,
)
from monai_retina_gen.losses.adversarial_step import AdversarialStep, FirstRows, SumOfTerms
from monai_retina_gen.losses.feature_distance import LPIPSDR, FeatureDistance, FeatureMaps
from monai_retina_gen.losses.grading import DiscriminatedGrade, EncodedGrade, GradeFocalLoss, class_weights
from monai_retina_gen.losses.lesion_loss import LesionLoss
from monai_retina_gen.losses.matching import FeatureMatching, PairedPerceptual
from monai_retina_gen.losses.painting_terms import HoleError, PieceColour, VersionChange
from monai_retina_gen.losses.penalties import GradientPenalty, Penalty, R1Penalty, WeightClipping
from monai_retina_gen.losses.perceptual_backbones import ImageNetLPIPS, VGG19Features
from monai_retina_gen.losses.perceptual_pairing import PAIRINGS, PerceptualPairing, RealQueue
from monai_retina_gen.losses.pixels import ELBOLoss, WeightedL1Loss, kl_divergence

__all__ = [
    "LPIPSDR",
    "AdversarialStep",
    "DiscriminatedGrade",
    "ELBOLoss",
    "EncodedGrade",
    "FeatureMatching",
    "GradeFocalLoss",
    "GradientPenalty",
    "HingeLoss",
    "HoleError",
    "LeastSquaresLoss",
    "LesionLoss",
    "MultiScaleAdversarialLoss",
    "NonSaturatingLoss",
    "PairedPerceptual",
    "Penalty",
    "PerceptualPairing",
    "PieceColour",
    "R1Penalty",
    "SumOfTerms",
    "VersionChange",
    "WassersteinLoss",
    "WeightClipping",
    "WeightedHinge",
    "WeightedL1Loss",
]
