"""Architectures: tensors in and out; no files, no devices, nothing of the rooms above."""

from monai_retina_gen.networks.activation_map import ActivationMapClassifier
from monai_retina_gen.networks.drgan import DRGAN, SpatialChannelAttention
from monai_retina_gen.networks.drgan_discriminator import MultiScaleDiscriminator
from monai_retina_gen.networks.efficientnet_lite import (
    LITE_VARIANTS,
    EfficientNetLite,
    convert_efficientnet_lite_state,
    fold_batch_norm,
    freeze_stages,
)
from monai_retina_gen.networks.filtered_leaky_relu import FilteredLeakyReLU
from monai_retina_gen.networks.fundus_grader import BACKBONES, CrossFittedGraders, FundusGrader, OrdinalHead
from monai_retina_gen.networks.fundus_vae import FundusVAE, PerGradeVAE
from monai_retina_gen.networks.grading_space import GradingSpace
from monai_retina_gen.networks.latents import CuratedLatents, draw_latents, latents_from_seeds
from monai_retina_gen.networks.lesion_painter import (
    CANVAS_KEYS,
    PAINTED_LESIONS,
    PAINTING_PLANES,
    LesionPainter,
    dilated,
    feathered,
    local_mean,
    paintable,
    uncovered,
)
from monai_retina_gen.networks.lesion_segmenter import STRUCTURES, LesionSegmenter, LiteSegmenter
from monai_retina_gen.networks.projected_discriminator import PaintingDiscriminator, ProjectedDiscriminator
from monai_retina_gen.networks.residual_gan import ResidualCritic, ResidualGenerator
from monai_retina_gen.networks.style_discriminator import StyleDiscriminator
from monai_retina_gen.networks.style_encoder import DetailEncoder, StyleAutoencoder, StyleEncoder
from monai_retina_gen.networks.stylegan3 import StyleGAN3, StyleSpace, latent_statistics, pinned_styles
from monai_retina_gen.networks.wgan import DeconvolutionGenerator, StridedCritic

__all__ = [
    "DRGAN",
    "CrossFittedGraders",
    "DeconvolutionGenerator",
    "EfficientNetLite",
    "FundusGrader",
    "FundusVAE",
    "GradingSpace",
    "LesionPainter",
    "LesionSegmenter",
    "LiteSegmenter",
    "MultiScaleDiscriminator",
    "PaintingDiscriminator",
    "PerGradeVAE",
    "ProjectedDiscriminator",
    "ResidualCritic",
    "ResidualGenerator",
    "StridedCritic",
    "StyleAutoencoder",
    "StyleDiscriminator",
    "StyleEncoder",
    "StyleGAN3",
]
