"""Losses and penalties. A feature network comes in as an argument."""

from monai_retina_gen.losses.adversarial_step import AdversarialStep
from monai_retina_gen.losses.batch_spread import BatchSpread
from monai_retina_gen.losses.class_weights import class_weights
from monai_retina_gen.losses.elbo import ELBOLoss, kl_divergence
from monai_retina_gen.losses.feature_distance import FeatureDistance, FeatureMaps
from monai_retina_gen.losses.feature_matching import FeatureMatching
from monai_retina_gen.losses.first_rows import FirstRows
from monai_retina_gen.losses.focal import GradeFocalLoss
from monai_retina_gen.losses.grade_terms import DiscriminatedGrade, EncodedGrade
from monai_retina_gen.losses.hole_error import HoleError
from monai_retina_gen.losses.lesion_loss import LesionLoss
from monai_retina_gen.losses.lpips_dr import LPIPSDR
from monai_retina_gen.losses.multi_scale import MultiScaleAdversarialLoss
from monai_retina_gen.losses.paired_perceptual import PairedPerceptual
from monai_retina_gen.losses.penalties import GradientPenalty, Penalty, R1Penalty, WeightClipping
from monai_retina_gen.losses.perceptual_backbones import ImageNetLPIPS, VGG19Features
from monai_retina_gen.losses.perceptual_pairing import PAIRINGS, PerceptualPairing
from monai_retina_gen.losses.piece_colour import PieceColour
from monai_retina_gen.losses.real_queue import RealQueue
from monai_retina_gen.losses.sum_of_terms import SumOfTerms
from monai_retina_gen.losses.version_change import VersionChange
from monai_retina_gen.losses.wasserstein import HingeLoss, LeastSquaresLoss, NonSaturatingLoss, WassersteinLoss
from monai_retina_gen.losses.weighted_hinge import WeightedHinge
from monai_retina_gen.losses.weighted_l1 import WeightedL1Loss

__all__ = [
    "LPIPSDR",
    "AdversarialStep",
    "BatchSpread",
    "DiscriminatedGrade",
    "ELBOLoss",
    "EncodedGrade",
    "FeatureDistance",
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
