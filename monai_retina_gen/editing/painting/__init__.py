"""Lesions on real photographs, from masks: added, moved or taken away; all else stays as it was, bit for bit."""

from monai_retina_gen.editing.painting.hole_painter import HolePainter, hole_around
from monai_retina_gen.editing.painting.paint import Painter, Painting, paint
from monai_retina_gen.editing.painting.painted_edits import SMALLEST_SIDE, OwnMasks, PaintedEdits, needed_masks
from monai_retina_gen.editing.painting.pieces import (
    PAINTING_EDITS,
    WantedLesions,
    label_change,
    piece_contrast,
    piece_order,
    quadrant_counts,
    without_invisible,
)
from monai_retina_gen.editing.painting.ratio_painter import LimitedSize, RatioPainter, change_map, ratio_blend

__all__ = [
    "PAINTING_EDITS",
    "SMALLEST_SIDE",
    "HolePainter",
    "LimitedSize",
    "OwnMasks",
    "PaintedEdits",
    "Painter",
    "Painting",
    "RatioPainter",
    "WantedLesions",
    "change_map",
    "hole_around",
    "label_change",
    "needed_masks",
    "paint",
    "piece_contrast",
    "piece_order",
    "quadrant_counts",
    "ratio_blend",
    "without_invisible",
]
