"""Ignite handlers: progress, sample grids, saving what was generated, fitting priors."""

from monai_retina_gen.handlers.epoch_shuffle import EpochShuffleHandler
from monai_retina_gen.handlers.fit_prior import FitPriorHandler
from monai_retina_gen.handlers.progress import ProgressHandler
from monai_retina_gen.handlers.sample_grid import SampleGridHandler, image_grid
from monai_retina_gen.handlers.save_generated import SaveGeneratedHandler

__all__ = [
    "EpochShuffleHandler",
    "FitPriorHandler",
    "ProgressHandler",
    "SampleGridHandler",
    "SaveGeneratedHandler",
    "image_grid",
]
