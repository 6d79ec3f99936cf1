"""Pairs that are made ahead for one set of training photographs, by arm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_retina_gen.data import (
    Item,
    MaskComposer,
    SyntheticDataset,
    build_lesion_bank,
    icdr_grade,
)
from monai_retina_gen.data.combine_masks import merge_masks
from monai_retina_gen.generators import RetinaGenerator
from monai_retina_gen.transforms.expansion.folder import expand

from .config import SYNTHESIZED_ARMS, SegmentationStudyConfig
from .paintings import healthy_pairs, painted_canvases, painted_eyes, painter_for
from .training import Pairs, load_pairs

__all__ = ["made_pairs"]


def made_pairs(
    arm: str,
    training: Sequence[Item],
    config: SegmentationStudyConfig,
    generator: RetinaGenerator | None,
    *,
    healthy: Sequence[Item] = (),
    predicted: Sequence[Item] = (),
    folder: Path,
) -> Pairs | None:
    """Pairs of an arm; `None` for an arm of photographs alone.

    Args:
        arm: of `SEGMENTATION_ARMS`.
        training: the training photographs.
        config: the study's settings.
        generator: for the arms that need one.
        healthy: training photographs of grade 0, which canvases are.
        predicted: training photographs with predicted masks.
        folder: where synthesized pairs are written.

    Raises:
        DatalistError: where nothing can be made.
        ValueError: for a generator that cannot make the arm.
    """
    annotated = [item for item in training if any(key in item for key in config.structures)]
    if arm == "healthy":
        return healthy_pairs(healthy, config)
    if generator is None:
        return None
    if arm == "edit":
        return painted_eyes(painter_for(generator, annotated), annotated, config)
    if arm == "canvas":
        return painted_canvases(painter_for(generator, annotated), healthy, config)
    return _synthesized(arm, training, predicted, config, generator, folder) if arm in SYNTHESIZED_ARMS else None


def _synthesized(
    arm: str,
    training: Sequence[Item],
    predicted: Sequence[Item],
    config: SegmentationStudyConfig,
    generator: RetinaGenerator,
    folder: Path,
) -> Pairs:
    second = {item["image"]: item for item in predicted}
    items, composer = [merge_masks(item, second.get(item["image"])) for item in training], None
    if arm == "synthesize":
        composer = MaskComposer(build_lesion_bank(training, predicted=predicted, progress=True))
    else:
        annotated = [item for item in items if any(key in item for key in config.structures)]
        items = [item for item in annotated if "grade" in item and icdr_grade(item) in config.grades]
    present = [g for g in config.grades if composer or any(icdr_grade(item) == g for item in items)]
    counts = dict.fromkeys(present, config.bank_size)
    expand(generator, counts, folder / arm, gate=None, masks=items, lesion_bank=composer, device=config.device)
    return load_pairs(SyntheticDataset(folder / arm).data, config, arm, synthesized=True)
