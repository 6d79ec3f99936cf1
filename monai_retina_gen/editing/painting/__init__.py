"""Lesions on real photographs, from masks: added, moved or taken away; all else stays as it was, bit for bit."""

from monai_retina_gen.editing.painting.hole_painter import HolePainter, hole_around
from monai_retina_gen.editing.painting.paint import Painter, Painting, paint
from monai_retina_gen.editing.painting.ratio_painter import RatioPainter, change_map, ratio_blend
from monai_retina_gen.editing.painting.visible import piece_contrast, without_invisible

__all__ = [
    "HolePainter",
    "Painter",
    "Painting",
    "RatioPainter",
    "change_map",
    "hole_around",
    "paint",
    "piece_contrast",
    "ratio_blend",
    "without_invisible",
]
