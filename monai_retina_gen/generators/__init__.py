"""One interface over every trained model: sample, reconstruct, edit, synthesize, encode."""

from monai_retina_gen.generators.base import MODES, GeneratedBatch, RetinaGenerator
from monai_retina_gen.generators.drgan_generator import DRGANGenerator
from monai_retina_gen.generators.gan_generator import GANGenerator, load_critic
from monai_retina_gen.generators.lesion_painting import LesionPainterGenerator
from monai_retina_gen.generators.loading import GeneratorHandle, generator_from_bundle, load_generator
from monai_retina_gen.generators.phantom_generator import RENDERED_FACTORS, PhantomGenerator, RenderedEyeGenerator
from monai_retina_gen.generators.regeneration import regenerate
from monai_retina_gen.generators.style_statistics import STATISTICS, measure_styles, save_style_statistics
from monai_retina_gen.generators.stylegan3_generator import StyleGAN3Generator
from monai_retina_gen.generators.vae_generator import VAEGenerator

__all__ = [
    "DRGANGenerator",
    "GANGenerator",
    "GeneratedBatch",
    "LesionPainterGenerator",
    "PhantomGenerator",
    "RenderedEyeGenerator",
    "RetinaGenerator",
    "StyleGAN3Generator",
    "VAEGenerator",
    "load_generator",
    "regenerate",
]
