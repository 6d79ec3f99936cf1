"""Training one grader on MONAI's trainer: the same number of steps in every arm, on a fixed schedule."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from torch import Tensor, nn
from torch.utils.data import RandomSampler, Sampler
from torchvision.transforms import v2

from monai_retina_gen.data import balanced_sampler
from monai_retina_gen.engines import AutocastInferer, GradingAugment, PrepareGradingBatch
from monai_retina_gen.handlers import GeneratorEMAHandler, ProgressHandler
from monai_retina_gen.metrics import quadratic_weighted_kappa
from monai_retina_gen.networks import FundusGrader
from monai_retina_gen.weights import load_initial_weights

from .alternative_images import Alternatives
from .config import StudyConfig
from .photographs import Photographs

LOOKS = 5  # epochs at which validation is looked at where it selects nothing
HALF_LIFE = 1000
"""Images until a step of the weights counts half in their average, as in the training of the shipped grader."""


@dataclass
class TrainingPhotographs:
    """Photographs of which some draws are replaced (`probabilities` by label), then augmented by `transform`.

    All images lie on the device as 8 bits and are augmented there batch by batch: nothing waits for a loader. Draws are
    from torch's global random state.
    """

    photographs: Photographs
    transform: Callable[[Tensor], Tensor]
    probabilities: Mapping[int, float]
    alternatives: Alternatives | None = None
    draws: Counter[int] = field(default_factory=Counter)  # images shown, by label
    replaced: Counter[int] = field(default_factory=Counter)  # of them generated ones
    _on: dict[str, Tensor] = field(default_factory=dict)  # all images, by the device that they lie on

    def __len__(self) -> int:
        return len(self.photographs)

    def batch(self, rows: Sequence[int], device: str = "cpu") -> dict[str, Tensor]:
        """Images `(B, 3, S, S)` in [0, 1] on the device and grades `(B,)`, of photographs or what replaces them."""
        labels = self.photographs.labels[list(rows)]
        chosen = [self._replacement(row, int(label)) for row, label in zip(rows, labels, strict=True)]
        images = self._images(device)[torch.tensor(chosen).to(device)]
        return {"image": self.transform(images.float() / 255).clamp(0, 1), "grade": labels}

    def shares(self) -> dict[str, Any]:
        """Share of the images shown that were generated, of all and by label: as it was, not as it was asked for."""
        by_label = {label: self.replaced[label] / self.draws[label] for label in sorted(self.draws)}
        return {"replaced_share": self.replaced.total() / self.draws.total(), "replaced_share_by_label": by_label}

    def _replacement(self, row: int, label: int) -> int:
        """Place of what is shown among the photographs and what replaces them."""
        chosen, which = torch.rand(2).tolist()  # as many draws in every arm, so that arms differ in nothing else
        self.draws[label] += 1
        if self.alternatives is None or chosen >= self.probabilities[label] or not len(self.alternatives.rows[row]):
            return row
        self.replaced[label] += 1
        rows = self.alternatives.rows[row]
        return len(self.photographs) + int(rows[int(which * len(rows))])

    def _images(self, device: str) -> Tensor:
        """Photographs and what replaces them, one after the other."""
        if device not in self._on:
            shown = [self.photographs.images]
            if self.alternatives is not None and any(self.probabilities.values()):
                shown.append(self.alternatives.images)
            self._on = {device: torch.cat(shown).to(device)}
        return self._on[device]


class _Batches:
    """Whole batches, drawn anew at every pass, so that all arms take the same steps on as many images."""

    def __init__(self, data: TrainingPhotographs, balanced: bool, config: StudyConfig, seed: int) -> None:
        self.data, self.config = data, config
        draws = len(self) * config.batch_size
        generator = torch.Generator().manual_seed(seed)
        self.sampler: Sampler[int] = RandomSampler(range(len(data)), num_samples=draws, generator=generator)
        if balanced:
            items = [{"grade": label} for label in data.photographs.labels.tolist()]
            self.sampler = balanced_sampler(items, num_samples=draws, seed=seed)

    def __len__(self) -> int:
        return math.ceil(len(self.data) / self.config.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        rows = list(self.sampler)
        for start in range(0, len(rows), self.config.batch_size):
            yield self.data.batch(rows[start : start + self.config.batch_size], self.config.device)


@dataclass
class WatchValidation:
    """Ignite handler: kappa on validation, after every epoch where it selects one, else `LOOKS` times; the weights."""

    network: nn.Module
    validation: Photographs
    config: StudyConfig
    epoch: int = 0
    kappa: float = -math.inf
    history: list[float | None] = field(default_factory=list)
    weights: dict[str, Any] = field(default_factory=dict)

    def __call__(self, engine: Engine) -> None:
        """Judge the epoch that has just ended."""
        selects, epochs = self.config.selection == "validation", self.config.max_epochs
        if not selects and engine.state.epoch % math.ceil(epochs / LOOKS) and engine.state.epoch < epochs:
            self.history.append(None)
            return
        preds = predict_grades(self.network, self.validation.images, self.config)
        kappa = float(quadratic_weighted_kappa(preds, self.validation.labels, self.config.num_classes))
        self.history.append(None if math.isnan(kappa) else kappa)
        # an undefined kappa is never better; of equals the first epoch stays
        if not selects or not self.weights or kappa > self.kappa:
            self.kappa = -1.0 if math.isnan(kappa) else kappa
            self.epoch, self.weights = engine.state.epoch, copy.deepcopy(self.network.state_dict())


def train_grader(
    data: TrainingPhotographs, validation: Photographs, *, balanced: bool, backbone: str, config: StudyConfig, seed: int
) -> tuple[nn.Module, dict[str, Any]]:
    """Train a grader from `config.init_weights`; returns it with what happened.

    Its weights are the average at the end of the schedule, or those of the epoch that `validation` selects. `seed` is
    of the weights, the order and all augmentation.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: nn.Module = FundusGrader(backbone=backbone, num_classes=config.num_classes, dropout=config.dropout)
        network = load_initial_weights(network, config.init_weights)
        network = network.to(device=config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = copy.deepcopy(network) if config.selection == "average" else None
        select = WatchValidation(network if average is None else average, validation, config)
        trainer = _trainer(network, average, _Batches(data, balanced, config, seed), config)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, select)
        trainer.run()
    network.load_state_dict(select.weights)
    return network, {
        "steps": trainer.state.iteration,
        "selected_epoch": select.epoch,
        "validation_kappa": select.kappa,
        "validation_kappa_by_epoch": select.history,
        **data.shares(),
    }


def _trainer(network: nn.Module, average: nn.Module | None, loader: _Batches, config: StudyConfig) -> SupervisedTrainer:
    fused = torch.device(config.device).type == "cuda"  # one kernel in place of hundreds
    rates: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    optimizer = torch.optim.AdamW(network.parameters(), fused=fused, **rates)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.max_epochs)
    progress = ProgressHandler(interval=max(1, config.max_epochs // 3), name="monai_retina_gen.study")
    averaging = []
    if average is not None:  # buffers too: statistics of batch normalisation belong to the weights
        options: dict[str, Any] = {"half_life": HALF_LIFE, "ramp_up": 0.1, "buffers": "average"}
        averaging = [GeneratorEMAHandler(generator=network, ema=average, batch_size=config.batch_size, **options)]
    return SupervisedTrainer(
        device=torch.device(config.device),
        max_epochs=config.max_epochs,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=nn.CrossEntropyLoss(label_smoothing=config.label_smoothing),
        inferer=AutocastInferer(config.autocast),
        prepare_batch=PrepareGradingBatch(),
        train_handlers=[LrScheduleHandler(schedule, print_lr=False), *averaging, progress],
        decollate=False,
    )


@torch.no_grad()
def predict_grades(network: nn.Module, images: Tensor, config: StudyConfig) -> Tensor:
    """Labels that a grader gives to `(N, 3, S, S)` uint8 images: `(N,)` int64 on the CPU, computed in float32."""
    network.eval()
    parts = images.split(config.batch_size)
    return torch.cat([network(part.to(config.device).float() / 255).argmax(dim=1).cpu() for part in parts])


def classic_transform(arm: str, recipe: str) -> Callable[[Tensor], Tensor]:
    """The augmentation of an arm, on images `(B, 3, H, W)` in [0, 1], drawing from torch's global random state.

    Arms without one of their own have all together; `cheng2021` has the flips and colours of Cheng and Ye.
    """
    if arm == "none":
        return torch.nn.Identity()
    if recipe == "cheng2021" and arm != "rotate":
        each = _CHENG2021.get(arm, v2.Compose([*_CHENG2021.values()]))
        return lambda images: torch.stack([each(image) for image in images])  # it draws once for what it is given
    return GradingAugment(**_DEFAULT.get(arm, _ALL))


_STILL = {"rotate": 0.0, "scale": 0.0, "shift": 0.0}
_DEFAULT: dict[str, dict[str, Any]] = {
    "flip": {**_STILL, "colour": 0.0},
    "rotate": {**_STILL, "colour": 0.0, "flip": False, "rotate": 30.0},
    "color": {**_STILL, "flip": False, "colour": 0.2},
}
_ALL: dict[str, Any] = {"rotate": 20.0, "scale": 0.12, "shift": 0.04, "colour": 0.2}
_CHENG2021: dict[str, torch.nn.Module] = {
    # every photograph is there once as it is and once upside down, which is a probability of one half
    "flip": v2.Compose([v2.RandomHorizontalFlip(0.1), v2.RandomVerticalFlip(0.5)]),
    # they avoid what deforms, and do not rotate
    "color": v2.RandomApply([v2.ColorJitter(brightness=(0.7, 0.9), contrast=(0.7, 0.9), saturation=(0.7, 0.9))], p=0.5),
}
