"""Ignite handlers: progress, sample grids, fitting priors."""

from monai_retina_gen.handlers.fit_prior import FitPriorHandler
from monai_retina_gen.handlers.progress import ProgressHandler
from monai_retina_gen.handlers.sample_grid import SampleGridHandler, image_grid

__all__ = ["FitPriorHandler", "ProgressHandler", "SampleGridHandler", "image_grid"]
