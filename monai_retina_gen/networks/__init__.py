"""Architectures: tensors in and out, one per file; no files, no devices, nothing of the rooms above."""

from monai_retina_gen.networks.fundus_grader import BACKBONES, FundusGrader
from monai_retina_gen.networks.fundus_vae import FundusVAE, PerGradeVAE

__all__ = ["BACKBONES", "FundusGrader", "FundusVAE", "PerGradeVAE"]
