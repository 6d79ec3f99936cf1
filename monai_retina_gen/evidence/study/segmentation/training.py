"""Settings of a segmentation study; training and judging one segmenter on pairs that are kept in memory as 8 bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from torch import Tensor, nn
from tqdm import tqdm

from monai_retina_gen.arguments import check_whole
from monai_retina_gen.data import Item
from monai_retina_gen.engines import AutocastInferer, FlippedWindowInferer
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import load_eye
from monai_retina_gen.evidence.study.config import check_names, check_share
from monai_retina_gen.handlers import ProgressHandler
from monai_retina_gen.losses import LesionLoss
from monai_retina_gen.metrics import curve_counts
from monai_retina_gen.networks import LiteSegmenter
from monai_retina_gen.transforms import LesionCropBatches, LoadFundusd, StackMasksd, UnpackMasksd
from monai_retina_gen.transforms.box_geometry import resize_square
from monai_retina_gen.weights import load_imagenet

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


RISE = 50  # steps in which the learning rate rises


@dataclass(frozen=True)
class Pairs:
    """Photographs with masks."""

    image: Tensor  # (N, 3, S, S) uint8
    label: Tensor  # (N, structures, S, S) uint8, as `StackMasksd` makes it
    groups: list[str]  # photograph or patient of each

    def __len__(self) -> int:
        return len(self.groups)


def load_pairs(
    items: Sequence[Item], config: SegmentationStudyConfig, what: str, *, synthesized: bool = False
) -> Pairs:
    """Load pairs at the study's size, cropped to the field of view; images of a generator fill their frame already."""
    chosen = [item for item in items if any(key in item for key in config.structures)]
    if not chosen:
        raise DatalistError(f"{what}: no photograph with a mask of {', '.join(config.structures)}")
    stack = StackMasksd(structures=config.structures)
    pairs = [stack(_load(item, config, synthesized)) for item in tqdm(chosen, desc=what, leave=False)]
    groups = [str(item.get("group", item["image"])) for item in chosen]
    return Pairs(torch.stack([p["image"] for p in pairs]), torch.stack([p["label"] for p in pairs]), groups)


def _load(item: Item, config: SegmentationStudyConfig, synthesized: bool) -> dict[Any, Any]:
    keys = [key for key in config.structures if key in item]
    if synthesized:
        loaded = LoadFundusd(keys="image", mask_keys=keys)({key: item[key] for key in ("image", *keys)})
        modes = {"image": "bilinear", **dict.fromkeys(keys, "area")}
        return {k: resize_square(loaded[k].as_tensor(), config.image_size, mode) for k, mode in modes.items()}
    return load_eye(item, config.image_size, keys)


def crop_batches(
    real: Pairs, made: Pairs | None, config: SegmentationStudyConfig, seed: int, *, augment: bool
) -> LesionCropBatches:
    """All batches of one training, with the study's `share` of crops of made pairs."""
    weights = torch.full((len(real),), 1 / len(real))
    image, label = real.image, real.label
    if made is not None:
        other = torch.full((len(made),), config.share / len(made))
        weights = torch.cat([weights * (1 - config.share), other])
        image, label = torch.cat([image, made.image]), torch.cat([label, made.label])
    return LesionCropBatches(
        [{"image": i, "label": k} for i, k in zip(image, label, strict=True)],
        size=config.crop_size,
        batch_size=config.batch_size,
        batches=config.steps,
        structures=config.structures,
        around=config.structures,
        weights=weights,
        augment=augment,
        seed=seed,
        device=config.device,
    )


def train_segmenter(data: LesionCropBatches, config: SegmentationStudyConfig, seed: int) -> nn.Module:
    """Train a `LiteSegmenter` for the study's number of steps; `seed` is of the weights."""
    device = torch.device(config.device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: nn.Module = LiteSegmenter(structures=config.structures, enlarge=config.enlarge)
        network = load_imagenet(network) if config.pretrained else network
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    fast = device.type == "cuda"
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.01, fused=fast)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / RISE) * (0.5 + 0.5 * math.cos(math.pi * min(step / config.steps, 1.0))),
    )
    progress = ProgressHandler(interval=1, name="monai_retina_gen.study")
    SupervisedTrainer(
        device=device,
        max_epochs=1,
        epoch_length=config.steps,
        train_data_loader=data,
        network=network,
        optimizer=optimizer,
        loss_function=LesionLoss(),
        inferer=AutocastInferer(amp=fast),
        train_handlers=[LrScheduleHandler(schedule, print_lr=False, epoch_level=False), progress],
        decollate=False,
    ).run()
    return network.eval()


@torch.no_grad()
def judge_segmenter(network: nn.Module, pairs: Pairs, config: SegmentationStudyConfig) -> np.ndarray:
    """Counts of precision-recall curves, mean of four flips: `(N, structures, 2, bins)` int32, see `curve_counts`."""
    unpack, found = UnpackMasksd(), []
    inferer = FlippedWindowInferer(window=config.image_size)
    for row in range(len(pairs)):
        item: Mapping[Any, Any] = unpack({"image": pairs.image[row], "label": pairs.label[row]})
        predicted = inferer(item["image"][None].to(config.device), network)[0]
        label = item["label"].to(config.device)
        found.append(torch.stack([curve_counts(p, t) for p, t in zip(predicted, label, strict=True)]).cpu())
    counts: np.ndarray = torch.stack(found).int().numpy()
    return counts
