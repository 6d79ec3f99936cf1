"""Training and judging one segmenter on pairs that are kept in memory as 8 bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.transforms import v2
from tqdm import tqdm

from monai_retina_gen.data import Item
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.handlers import ProgressHandler
from monai_retina_gen.losses import LesionLoss
from monai_retina_gen.metrics import curve_counts
from monai_retina_gen.networks import LesionSegmenter
from monai_retina_gen.transforms import CropToFieldOfViewd, LoadFundusd, StackMasksd, UnpackMasksd
from monai_retina_gen.transforms.box_geometry import resize_square

from .config import SegmentationStudyConfig

__all__ = ["Pairs", "TrainingPairs", "judge_segmenter", "load_pairs", "train_segmenter"]


@dataclass(frozen=True)
class Pairs:
    """Photographs with masks.

    Args:
        image: `(N, 3, S, S)` uint8.
        label: `(N, structures, S, S)` uint8 as `StackMasksd` makes it.
        groups: photograph or patient of each.
    """

    image: Tensor
    label: Tensor
    groups: list[str]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.groups)


def load_pairs(
    items: Sequence[Item], config: SegmentationStudyConfig, what: str, *, synthesized: bool = False
) -> Pairs:
    """Load pairs at the study's size, cropped to the field of view.

    Args:
        items: items with `image` and masks.
        config: the study's settings.
        what: name of the section, for the progress bar and errors.
        synthesized: whether they are images of a generator, which fill their frame already and are not cropped.

    Raises:
        DatalistError: if no item has the mask of any of the structures.
    """
    chosen = [item for item in items if any(key in item for key in config.structures)]
    if not chosen:
        raise DatalistError(f"{what}: no photograph with a mask of {', '.join(config.structures)}")
    stack = StackMasksd(structures=config.structures)
    pairs = [stack(_load(item, config, synthesized)) for item in tqdm(chosen, desc=what, leave=False)]
    groups = [str(item.get("group", item["image"])) for item in chosen]
    return Pairs(torch.stack([p["image"] for p in pairs]), torch.stack([p["label"] for p in pairs]), groups)


def _load(item: Item, config: SegmentationStudyConfig, synthesized: bool) -> dict[Any, Any]:
    keys = [key for key in config.structures if key in item]
    loaded = LoadFundusd(keys="image", mask_keys=keys)({key: item[key] for key in ("image", *keys)})
    if synthesized:
        modes = {"image": "bilinear", **dict.fromkeys(keys, "area")}
        return {k: resize_square(loaded[k].as_tensor(), config.image_size, mode) for k, mode in modes.items()}
    return CropToFieldOfViewd(keys="image", mask_keys=keys, size=config.image_size)(loaded)


class TrainingPairs(Dataset[dict[str, Any]]):
    """Annotated pairs of which some draws are replaced by synthesized ones; draws from torch's global random state.

    Args:
        real: annotated pairs.
        made: synthesized pairs; None where there are none.
        share: of the draws that are replaced.
        classic: flips, quarter turns and colour.
    """

    def __init__(self, real: Pairs, made: Pairs | None, share: float, classic: bool) -> None:
        self.real, self.made, self.share, self.classic = real, made, share, classic
        self.unpack = UnpackMasksd()
        self.colour = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)

    def __len__(self) -> int:
        return len(self.real)

    def __getitem__(self, index: int) -> dict[str, Any]:
        chosen, which = torch.rand(2).tolist()  # as many draws in every arm, so that arms differ in nothing else
        pairs, row = self.real, index
        if self.made is not None and chosen < self.share:
            pairs, row = self.made, int(which * len(self.made))
        item: dict[Any, Any] = self.unpack({"image": pairs.image[row], "label": pairs.label[row]})
        return self._augmented(item) if self.classic else item

    def _augmented(self, item: dict[Any, Any]) -> dict[str, Any]:
        flip, turns = torch.rand(()) < 0.5, int(torch.randint(4, ()))
        turned = {key: torch.rot90(item[key], turns, (1, 2)) for key in ("image", "label")}
        turned = {key: value.flip(2) if flip else value for key, value in turned.items()}
        return {**turned, "image": self.colour(turned["image"]).clamp(0, 1)}


def train_segmenter(data: TrainingPairs, config: SegmentationStudyConfig, seed: int) -> nn.Module:
    """Train a small U-Net from scratch for the study's number of steps.

    Args:
        data: the training pairs.
        config: the study's settings.
        seed: of the weights, the order and all augmentation.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: nn.Module = LesionSegmenter(structures=config.structures, channels=config.channels)
        network = network.to(device=config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        draws, generator = config.steps * config.batch_size, torch.Generator().manual_seed(seed)
        sampler = RandomSampler(data, replacement=True, num_samples=draws, generator=generator)
        loader: DataLoader[Any] = DataLoader(data, batch_size=config.batch_size, sampler=sampler)
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.steps)
        SupervisedTrainer(
            device=torch.device(config.device),
            max_epochs=1,
            train_data_loader=loader,
            network=network,
            optimizer=optimizer,
            loss_function=LesionLoss(),
            train_handlers=[
                LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
                ProgressHandler(interval=1, name="monai_retina_gen.study"),
            ],
            decollate=False,
        ).run()
    return network.eval()


@torch.no_grad()
def judge_segmenter(network: nn.Module, pairs: Pairs, config: SegmentationStudyConfig) -> np.ndarray:
    """Counts of the precision-recall curves: `(N, structures, 2, bins)` int32, see `curve_counts`."""
    unpack, found = UnpackMasksd(), []
    for row in range(len(pairs)):
        item: Mapping[Any, Any] = unpack({"image": pairs.image[row], "label": pairs.label[row]})
        predicted = network(item["image"][None].to(config.device)).float().sigmoid().cpu()[0]
        found.append(torch.stack([curve_counts(p, t) for p, t in zip(predicted, item["label"], strict=True)]))
    counts: np.ndarray = torch.stack(found).int().numpy()
    return counts
