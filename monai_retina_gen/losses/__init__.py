"""Losses and penalties. A feature network comes in as an argument."""

from monai_retina_gen.losses.class_weights import class_weights
from monai_retina_gen.losses.elbo import ELBOLoss, kl_divergence

__all__ = ["ELBOLoss", "class_weights", "kl_divergence"]
