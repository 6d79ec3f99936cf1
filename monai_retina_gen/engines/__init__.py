"""What trainers and evaluators on MONAI's engines need: batches, inferers, and (later) the adversarial trainer."""

from monai_retina_gen.engines.inferers import AutocastInferer, GeneratorInferer, LatentOutputs
from monai_retina_gen.engines.prepare_batch import (
    PrepareGradingBatch,
    PrepareReconstructionBatch,
    PrepareSamplingBatch,
)

__all__ = [
    "AutocastInferer",
    "GeneratorInferer",
    "LatentOutputs",
    "PrepareGradingBatch",
    "PrepareReconstructionBatch",
    "PrepareSamplingBatch",
]
