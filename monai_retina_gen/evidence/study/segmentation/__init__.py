"""The segmentation study: does a segmenter of lesions find more with synthesized pairs of photograph and masks?"""

from __future__ import annotations

from .study import run_segmentation_study
from .training import SEGMENTATION_ARMS, SEGMENTATION_PRESETS, SegmentationStudyConfig

__all__ = ["SEGMENTATION_ARMS", "SEGMENTATION_PRESETS", "SegmentationStudyConfig", "run_segmentation_study"]
