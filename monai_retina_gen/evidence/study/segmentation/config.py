"""Settings of a segmentation study: plain values that are written beside its results and checked when it goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.evidence.study.config import check_names, check_share

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
    """Settings of a segmentation study; a `ValueError` names the setting, what came and what is wanted.

    Examples:
        >>> SegmentationStudyConfig(datalist="idrid", out="study", arms=("magic",))
        Traceback (most recent call last):
        ...
        ValueError: arms: unknown ['magic']; choose from none, classic, healthy, edit, canvas, own-masks, synthesize
    """

    datalist: str  # with annotated lesions and the sections training and test
    out: str  # folder of the results
    dataset_dir: str | None = None  # of a named data set
    masks: str = ""  # datalist with predicted masks, for synthesized pairs; painting takes annotated ones alone
    arms: tuple[str, ...] = ("classic", "healthy", "edit", "canvas")  # of `SEGMENTATION_ARMS`
    structures: tuple[str, ...] = ("ma", "he", "ex", "se")  # lesions that are segmented
    folds: int = 0  # over the annotated photographs of all sections; 0: training, test
    seeds: int = 5  # trainings of every arm (and fold); fewer than five give no verdict
    image_size: int = 512  # side in pixels
    crop_size: int = 256  # of the crops that are trained on
    steps: int = 600  # the same in every arm; the last weights are judged
    batch_size: int = 4  # crops of a step
    pretrained: bool = True  # start the encoder with ImageNet's weights (extra `pretrained`)
    enlarge: bool = False  # see `LiteSegmenter`
    learning_rate: float = 1e-3  # of AdamW, with a short rise and a cosine
    share: float = 0.4  # of the drawn crops that are of painted, synthesized or healthy photographs
    bank_size: int = 80  # made pairs per grade
    grades: tuple[int, ...] = (2, 3, 4)  # of the made pairs; canvases of 2 and 3 alone
    device: str = "cpu"
    preset: str = ""  # that these settings come from, for the record

    def __post_init__(self) -> None:
        check_names("arms", self.arms, SEGMENTATION_ARMS)
        for name in ("seeds", "image_size", "crop_size", "steps", "batch_size", "bank_size"):
            check_whole(name, getattr(self, name))
        check_share("share", self.share)
        if self.crop_size % 2 or self.crop_size > self.image_size:
            raise ValueError(f"crop_size: {self.crop_size} came, an even number up to {self.image_size} is wanted")
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
