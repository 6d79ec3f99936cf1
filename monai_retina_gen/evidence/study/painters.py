"""Which generators paint on photographs, and what a study of them wants."""

from __future__ import annotations

from monai_retina_gen.editing.painting import SMALLEST_SIDE
from monai_retina_gen.generators import LesionPainterGenerator, RetinaGenerator
from monai_retina_gen.generators.lesion_painting import LesionPainting

from .config import StudyConfig

__all__ = ["only_paints", "paints", "why_no_painting"]


def paints(generator: RetinaGenerator) -> bool:
    """Whether a generator edits photographs by painting."""
    return isinstance(generator, LesionPainting) and generator.painter is not None


def only_paints(generator: RetinaGenerator) -> bool:
    """Whether a generator draws no whole eyes."""
    return isinstance(generator, LesionPainterGenerator)


def why_no_painting(generator: RetinaGenerator, config: StudyConfig) -> str:
    """Why a generator cannot paint the photographs of a study, `""` where it can."""
    if not isinstance(generator, LesionPainting) or generator.painter is None:
        return "the generator paints no photographs"
    if generator.composer is None:
        return "the generator has no lesion bank"
    small = config.image_size < SMALLEST_SIDE
    return f"painting wants at least {SMALLEST_SIDE} px, the study has {config.image_size}" if small else ""
