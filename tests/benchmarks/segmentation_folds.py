"""Painted pairs against none on all annotated photographs, by the clock: for a GPU that others use as well.

    python tests/benchmarks/segmentation_folds.py IDRID --out runs --fold 0 --seconds 150   # a process a fold
    python tests/benchmarks/segmentation_folds.py IDRID --out runs   # the table, with all there

The same parts as `study --task segmentation --folds 5`, but the trainings of a fold take turns, step by step, until the
time is over: all arms of a fold have the same number of steps, whatever else the machine did.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_retina_gen.data import Item, load_datalist
from monai_retina_gen.evidence.study.segmentation import SegmentationStudyConfig
from monai_retina_gen.evidence.study.segmentation import study as parts
from monai_retina_gen.evidence.study.segmentation.paintings import made_pairs
from monai_retina_gen.evidence.study.segmentation.training import (
    RISE,
    crop_batches,
    judge_segmenter,
    load_pairs,
)
from monai_retina_gen.generators import load_generator
from monai_retina_gen.losses import LesionLoss
from monai_retina_gen.networks import LiteSegmenter
from monai_retina_gen.networks.inputs import bfloat16_autocast
from monai_retina_gen.weights import load_imagenet

ARMS, PAINTER = ("classic", "edit", "canvas"), "retina_lesion_painter"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset_dir")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int)
    parser.add_argument("--seconds", type=float, default=150, help="of training")
    for name, default in (("image-size", 512), ("crop-size", 256), ("batch-size", 16), ("bank-size", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    sizes = {name: getattr(args, name) for name in ("image_size", "crop_size", "batch_size", "bank_size")}
    config = SegmentationStudyConfig(
        datalist="idrid",
        dataset_dir=args.dataset_dir,
        out=str(args.out),
        folds=5,
        seeds=1,
        arms=ARMS,
        device=args.device,
        **sizes,
    )
    folds = parts._parts(config, load_datalist("idrid", args.dataset_dir))
    if args.fold is None:
        parts._results(args.out, config, [i for _, j in folds for i in j], load_datalist("idrid", args.dataset_dir))
        print((args.out / "summary.md").read_text())
        return
    train_fold(args.fold, *folds[args.fold], config, args.seconds)


def train_fold(
    fold: int, training: Sequence[Item], judged: Sequence[Item], config: SegmentationStudyConfig, seconds: float
) -> None:
    real, held_out = load_pairs(training, config, "training"), load_pairs(judged, config, "judged")
    annotated = parts._annotated(training, config)
    healthy = [item for item in training if item.get("grade") == 0 and item not in annotated]
    generator, folder = load_generator(PAINTER, device=config.device), Path(config.out)
    pairs = {arm: made_pairs(arm, training, config, generator, healthy=healthy, folder=folder) for arm in ARMS}
    steps, networks = {}, {}
    for arm, made in pairs.items():
        torch.manual_seed(0)
        network: nn.Module = load_imagenet(LiteSegmenter(structures=config.structures, enlarge=config.enlarge))
        networks[arm] = network.to(device=config.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        steps[arm] = stepper(networks[arm], iter(crop_batches(real, made, config, 0, augment=True)), config)
    count, started, passed = 0, time.monotonic(), 0.0
    while passed < 1:
        rate = min(1.0, (count + 1) / RISE) * (0.5 + 0.5 * math.cos(math.pi * passed))
        losses = {arm: step(config.learning_rate * rate) for arm, step in steps.items()}
        count += 1
        if count % 10 == 0:
            print(fold, count, {arm: round(loss.item(), 3) for arm, loss in losses.items()}, flush=True)
        passed = (time.monotonic() - started) / seconds
    for arm, network in networks.items():
        parts._write(judge_segmenter(network.eval(), held_out, config), parts._path(folder, arm, 0, fold))
    bank = {arm: 0 if made is None else len(made) for arm, made in pairs.items()}
    (folder / f"fold{fold}.json").write_text(json.dumps({"steps": count, "pairs": bank}))


def stepper(network: nn.Module, batches: Any, config: SegmentationStudyConfig) -> Callable[[float], torch.Tensor]:
    """One step at a learning rate; returns the loss."""
    device, loss_of = torch.device(config.device), LesionLoss()
    fast = device.type == "cuda"
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01, fused=fast)

    def step(rate: float) -> torch.Tensor:
        batch = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with bfloat16_autocast(device.type, fast):
            logits = network(batch["image"].contiguous(memory_format=torch.channels_last))
        loss: torch.Tensor = loss_of(logits, batch["label"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


if __name__ == "__main__":
    main()
