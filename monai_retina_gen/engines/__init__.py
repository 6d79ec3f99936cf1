"""What trainers and evaluators on MONAI's engines need: batches, inferers, and the adversarial trainer."""

from monai_retina_gen.engines.alternating_trainer import AlternatingTrainer
from monai_retina_gen.engines.calibration import expected_calibration_error, fit_temperature
from monai_retina_gen.engines.condition_batch import PrepareConditionBatch, PrepareSynthesisBatch, SynthesisInferer
from monai_retina_gen.engines.cross_fitting import fold_datalist, fold_of_group, training_folds
from monai_retina_gen.engines.discriminator_augment import AUGMENTATION_PRESETS, DiscriminatorAugment
from monai_retina_gen.engines.distributed import average_buffers, average_gradients, broadcast_state, world
from monai_retina_gen.engines.encoder_training import EncoderLoss, EncoderReconstruction, PrepareEncoderBatch
from monai_retina_gen.engines.fading_blur import FadingBlur
from monai_retina_gen.engines.fundus_segmenter import FundusSegmenter, load_segmenter
from monai_retina_gen.engines.generative_events import GenerativeEvents
from monai_retina_gen.engines.gradients import ClipGradientNorm, FiniteGradients
from monai_retina_gen.engines.grading_augment import GradingAugment
from monai_retina_gen.engines.inferers import AutocastInferer, GeneratorInferer, LatentOutputs
from monai_retina_gen.engines.painting_batch import PaintingNoise, PreparePaintingBatch, PreparePaintingEvaluation
from monai_retina_gen.engines.painting_inference import PAINTING_CHANGES, PaintingInferer, PreparePaintingInference
from monai_retina_gen.engines.phantom_batch import PreparePhantomBatch, PreparePhantomMasks, fit_mapping
from monai_retina_gen.engines.phases import Phase, phase_at
from monai_retina_gen.engines.prepare_batch import (
    PrepareAdversarialBatch,
    PrepareComparisonBatch,
    PrepareGradingBatch,
    PrepareImitationBatch,
    PrepareReconstructionBatch,
    PrepareSamplingBatch,
)
from monai_retina_gen.engines.segmentation_data import load_segmentation_data, official_test
from monai_retina_gen.engines.versions_batch import PrepareVersionsBatch, VersionsInferer
from monai_retina_gen.engines.window_inferer import FlippedWindowInferer

__all__ = [
    "AlternatingTrainer",
    "AutocastInferer",
    "ClipGradientNorm",
    "DiscriminatorAugment",
    "EncoderLoss",
    "EncoderReconstruction",
    "FadingBlur",
    "FiniteGradients",
    "FlippedWindowInferer",
    "GenerativeEvents",
    "GeneratorInferer",
    "GradingAugment",
    "LatentOutputs",
    "PaintingInferer",
    "PaintingNoise",
    "Phase",
    "PrepareAdversarialBatch",
    "PrepareComparisonBatch",
    "PrepareConditionBatch",
    "PrepareEncoderBatch",
    "PrepareGradingBatch",
    "PrepareImitationBatch",
    "PreparePaintingBatch",
    "PreparePaintingEvaluation",
    "PreparePaintingInference",
    "PreparePhantomBatch",
    "PreparePhantomMasks",
    "PrepareReconstructionBatch",
    "PrepareSamplingBatch",
    "PrepareSynthesisBatch",
    "PrepareVersionsBatch",
    "SynthesisInferer",
    "VersionsInferer",
    "fit_mapping",
    "load_segmenter",
]
