"""Settings of a segmentation study: plain values that are written beside its results and checked when it goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["SEGMENTATION_ARMS", "SEGMENTATION_PRESETS", "SegmentationStudyConfig"]

SEGMENTATION_ARMS = {
    "none": "the annotated photographs as they are",
    "classic": "flips, quarter turns and colour: the baseline",
    "own-masks": "as `classic`, with pairs synthesized from the photographs' own masks: the control for texture",
    "synthesize": "as `classic`, with pairs synthesized from composed masks",
}
"""Arms by name; the last two need a generator."""


@dataclass(frozen=True, kw_only=True)
class SegmentationStudyConfig:
    """Settings.

    Args:
        datalist: data set name, folder or file with annotated lesions and the sections training and test.
        dataset_dir: folder of a named data set.
        masks: datalist of photographs whose vessels, disc and field of view pairs are synthesized for, and whose
            lesions are composed beside the annotated ones (`segment` writes one); empty: `datalist` itself.
        out: folder of the results.
        arms: of `SEGMENTATION_ARMS`.
        structures: lesions that are segmented.
        seeds: trainings of every arm; fewer than five give no verdict.
        image_size: side in pixels.
        steps: optimiser steps, the same in every arm; nothing is selected on the way, the last weights are judged.
        batch_size: images of a step.
        channels: widths of the U-Net.
        learning_rate: of AdamW, with a cosine schedule.
        share: of the drawn images that are synthesized, in the arms that have them.
        bank_size: synthesized pairs per grade.
        grades: grades of the synthesized pairs.
        device: where everything runs.
        preset: name of the preset, for the record.

    Raises:
        ValueError: names the setting, what came and what is wanted.

    Examples:
        >>> SegmentationStudyConfig(datalist="idrid", out="study", arms=("magic",))
        Traceback (most recent call last):
        ...
        ValueError: arms: ['magic'] came; choose from none, classic, own-masks, synthesize
    """

    datalist: str
    out: str
    dataset_dir: str | None = None
    masks: str = ""
    arms: tuple[str, ...] = ("none", "classic", "own-masks", "synthesize")
    structures: tuple[str, ...] = ("ma", "he", "ex", "se")
    seeds: int = 5
    image_size: int = 256
    steps: int = 600
    batch_size: int = 4
    channels: tuple[int, ...] = (8, 16, 32, 48)
    learning_rate: float = 2e-3
    share: float = 0.5
    bank_size: int = 40
    grades: tuple[int, ...] = (2, 3, 4)
    device: str = "cpu"
    preset: str = ""

    def __post_init__(self) -> None:
        unknown = [arm for arm in self.arms if arm not in SEGMENTATION_ARMS]
        if unknown or not self.arms:
            raise ValueError(f"arms: {unknown or 'none'} came; choose from {', '.join(SEGMENTATION_ARMS)}")
        for name in ("seeds", "image_size", "steps", "batch_size", "bank_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} came, a whole number from 1 is wanted")
        stride = 2 ** (len(self.channels) - 1)
        if self.image_size % stride:
            raise ValueError(f"image_size: {self.image_size} came, a multiple of {stride} is wanted")
        if not 0 < self.share <= 1:
            raise ValueError(f"share: {self.share} came, a share above 0 and up to 1 is wanted")

    def settings(self) -> dict[str, Any]:
        """All settings as plain values, without the folder."""
        values = asdict(self)
        del values["out"]
        return values


SEGMENTATION_PRESETS: dict[str, dict[str, Any]] = {
    # Hours on two cores.
    "cpu": {},
    # A test that everything runs; its figures mean nothing.
    "smoke": {
        "seeds": 2,
        "image_size": 64,
        "steps": 6,
        "batch_size": 2,
        "channels": (4, 4, 8),
        "bank_size": 2,
        "grades": (3,),
    },
}
"""Settings by preset; all of them can be overridden."""
