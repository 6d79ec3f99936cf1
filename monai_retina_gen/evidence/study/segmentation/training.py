"""Training and judging one segmenter on pairs that are kept in memory as 8 bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from torch import Tensor, nn
from tqdm import tqdm

from monai_retina_gen.data import Item
from monai_retina_gen.engines import AutocastInferer, FlippedWindowInferer
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import load_eye
from monai_retina_gen.handlers import ProgressHandler
from monai_retina_gen.losses import LesionLoss
from monai_retina_gen.metrics import curve_counts
from monai_retina_gen.networks import LiteSegmenter
from monai_retina_gen.transforms import LesionCropBatches, LoadFundusd, StackMasksd, UnpackMasksd
from monai_retina_gen.transforms.box_geometry import resize_square
from monai_retina_gen.weights import load_imagenet

from .config import SegmentationStudyConfig

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
