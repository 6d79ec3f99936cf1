"""Losses and penalties. A feature network comes in as an argument."""

from monai_retina_gen.losses.adversarial import (
    AdversarialStep,
    FirstRows,
    HingeLoss,
    LeastSquaresLoss,
    MultiScaleAdversarialLoss,
    NonSaturatingLoss,
    SumOfTerms,
    WassersteinLoss,
    WeightedHinge,
)
from monai_retina_gen.losses.feature_distance import LPIPSDR, FeatureDistance
from monai_retina_gen.losses.grading import DiscriminatedGrade, EncodedGrade, GradeFocalLoss, class_weights
from monai_retina_gen.losses.matching import FeatureMatching, HoleError, PairedPerceptual, PieceColour, VersionChange
from monai_retina_gen.losses.penalties import GradientPenalty, R1Penalty, WeightClipping
from monai_retina_gen.losses.perceptual_backbones import ImageNetLPIPS, VGG19Features
from monai_retina_gen.losses.perceptual_pairing import PAIRINGS, PerceptualPairing, RealQueue
from monai_retina_gen.losses.pixels import ELBOLoss, LesionLoss, WeightedL1Loss, kl_divergence

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
