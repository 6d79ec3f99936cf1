"""Ignite handlers: progress, sample grids, saving, fitting priors, and those of adversarial training."""

from monai_retina_gen.handlers.reports import MetricsFileHandler, NaNGuardHandler, ProgressHandler, SaveGeneratedHandler
from monai_retina_gen.handlers.sheets import (
    PaintingSheetHandler,
    ReconstructionSheetHandler,
    SampleGridHandler,
    SynthesisGridHandler,
    condition_picture,
    image_grid,
)
from monai_retina_gen.handlers.training import (
    AdaptiveAugmentHandler,
    EpochShuffleHandler,
    FadingBlurHandler,
    FitPriorHandler,
    GeneratorEMAHandler,
    StageHandler,
    handlers_of_process,
)

__all__ = [
    "AdaptiveAugmentHandler",
    "EpochShuffleHandler",
    "FadingBlurHandler",
    "FitPriorHandler",
    "GeneratorEMAHandler",
    "MetricsFileHandler",
    "NaNGuardHandler",
    "PaintingSheetHandler",
    "ProgressHandler",
    "ReconstructionSheetHandler",
    "SampleGridHandler",
    "SaveGeneratedHandler",
    "StageHandler",
    "SynthesisGridHandler",
]
