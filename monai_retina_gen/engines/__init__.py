"""What trainers and evaluators on MONAI's engines need: batches, inferers, and the adversarial trainer."""

from monai_retina_gen.engines.alternating_trainer import AlternatingTrainer
from monai_retina_gen.engines.condition_batch import (
    AutocastInferer,
    GeneratorInferer,
    LatentOutputs,
    PrepareConditionBatch,
    PrepareSynthesisBatch,
    SynthesisInferer,
)
from monai_retina_gen.engines.cross_fitting import (
    expected_calibration_error,
    fit_temperature,
    fold_datalist,
    fold_of_group,
    training_folds,
)
from monai_retina_gen.engines.discriminator_augment import AUGMENTATION_PRESETS, DiscriminatorAugment, FadingBlur
from monai_retina_gen.engines.distributed import average_buffers
from monai_retina_gen.engines.encoder_training import (
    EncoderLoss,
    EncoderReconstruction,
    PrepareEncoderBatch,
    PrepareVersionsBatch,
    VersionsInferer,
)
from monai_retina_gen.engines.fundus_segmenter import (
    FlippedWindowInferer,
    FundusSegmenter,
    load_segmentation_data,
    load_segmenter,
    official_test,
)
from monai_retina_gen.engines.painting_batch import (
    PaintingInferer,
    PaintingNoise,
    PreparePaintingBatch,
    PreparePaintingEvaluation,
    PreparePaintingInference,
)
from monai_retina_gen.engines.phantom_batch import (
    PrepareImitationBatch,
    PreparePhantomBatch,
    PreparePhantomMasks,
    fit_mapping,
)
from monai_retina_gen.engines.phases import ClipGradientNorm, FiniteGradients, GenerativeEvents, Phase
from monai_retina_gen.engines.prepare_batch import (
    GradingAugment,
    PrepareAdversarialBatch,
    PrepareComparisonBatch,
    PrepareGradingBatch,
    PrepareReconstructionBatch,
    PrepareSamplingBatch,
)

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
