"""Ignite handlers: progress, sample grids, saving, fitting priors, and those of adversarial training."""

from monai_retina_gen.handlers.adaptive_augment import AdaptiveAugmentHandler
from monai_retina_gen.handlers.epoch_shuffle import EpochShuffleHandler
from monai_retina_gen.handlers.fading_blur import FadingBlurHandler
from monai_retina_gen.handlers.fit_prior import FitPriorHandler
from monai_retina_gen.handlers.generator_ema import GeneratorEMAHandler
from monai_retina_gen.handlers.metrics_file import MetricsFileHandler
from monai_retina_gen.handlers.nan_guard import NaNGuardHandler
from monai_retina_gen.handlers.painting_sheet import PaintingSheetHandler
from monai_retina_gen.handlers.processes import handlers_of_process
from monai_retina_gen.handlers.progress import ProgressHandler
from monai_retina_gen.handlers.reconstruction_sheet import ReconstructionSheetHandler
from monai_retina_gen.handlers.sample_grid import SampleGridHandler, image_grid
from monai_retina_gen.handlers.save_generated import SaveGeneratedHandler
from monai_retina_gen.handlers.stage_handler import StageHandler
from monai_retina_gen.handlers.synthesis_grid import SynthesisGridHandler, condition_picture

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
