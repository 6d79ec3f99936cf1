"""Cost of GenerativeAugmentd: microseconds an item in each placement, and its share of a training epoch.

Run: python tests/benchmarks/bench_augment.py --datalist idrid --dataset-dir DIR/idrid --bank BANK
Everything is measured in one process, alternating, so that the ratios hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, SelectItemsd

from monai_retina_gen.data import balanced_sampler, count_grades, load_datalist
from monai_retina_gen.engines import AutocastInferer, PrepareGradingBatch
from monai_retina_gen.networks import FundusGrader
from monai_retina_gen.transforms import BatchGenerativeAugment, CropToFieldOfViewd, GenerativeAugmentd, LoadFundusd


def seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def item_costs(item: dict[str, Any], bank: str, generator: str, size: int) -> dict[str, float]:
    """Median microseconds an item."""
    forms: dict[str, Callable[[], Any]] = {}
    common = {"keys": "image", "label_key": "grade"}
    idle = GenerativeAugmentd(**common, bank=bank, prob=0.0)
    from_bank = GenerativeAugmentd(**common, bank=bank, prob=1.0)
    worker = GenerativeAugmentd(**common, generator=generator, prob=1.0)
    batch = BatchGenerativeAugment(generator=generator, prob=1.0)
    images = torch.stack([item["image"]] * 32)
    batched = {"image": images, "grade": torch.full((32,), item["grade"])}
    forms["not drawn (prob 0)"] = lambda: idle(item)
    forms["bank"] = lambda: from_bank(item)
    forms["worker (CPU, one at a time)"] = lambda: worker(item)
    forms["batch of 32 (CPU), per item"] = lambda: batch(batched)
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(60):
        for name, form in forms.items():
            times[name].append(seconds(form) / (32 if "32" in name else 1))
    return {name: 1e6 * statistics.median(values[10:]) for name, values in times.items()}


def epoch_times(items: list[dict[str, Any]], bank: str, size: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of a training epoch of a ResNet-18, without and with images from the bank."""
    loading = [LoadFundusd(keys="image"), CropToFieldOfViewd(keys="image", size=size), SelectItemsd(("image", "grade"))]
    counts = count_grades(items)
    augment = GenerativeAugmentd(keys="image", label_key="grade", bank=bank, prob="balance", counts=counts)
    network = FundusGrader(backbone="resnet18").to(memory_format=torch.channels_last)
    trainers = {}
    for name, steps in {"without": [], "with bank": [augment]}.items():
        dataset = CacheDataset(items, Compose([*loading, *steps]), progress=False)
        trainers[name] = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=DataLoader(dataset, batch_size=32, sampler=balanced_sampler(items)),
            network=network,
            optimizer=torch.optim.AdamW(network.parameters(), 1e-4),
            loss_function=torch.nn.CrossEntropyLoss(),
            inferer=AutocastInferer(),
            prepare_batch=PrepareGradingBatch(),
            decollate=False,
        )
    found: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(repeats + 1):
        for name, trainer in trainers.items():
            trainer.state.epoch = trainer.state.iteration = 0
            found[name].append(seconds(trainer.run))
    return {name: values[1:] for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datalist", required=True)
    parser.add_argument("--dataset-dir")
    parser.add_argument("--bank", required=True)
    parser.add_argument("--generator", default="retina_vae")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    items = load_datalist(args.datalist, args.dataset_dir, require_grade=True)["training"]
    loading = Compose([LoadFundusd(keys="image"), CropToFieldOfViewd(keys="image", size=args.size)])
    print(f"| placement | microseconds an item ({args.size} px) |\n|---|---|")
    for name, cost in item_costs(loading(dict(items[0])), args.bank, args.generator, args.size).items():
        print(f"| {name} | {cost:.0f} |")
    epochs = epoch_times(items, args.bank, args.size, args.repeats)
    medians = {name: statistics.median(values) for name, values in epochs.items()}
    print(f"\nepoch of {len(items)} images, ResNet-18, batch 32, {torch.get_num_threads()} threads:")
    for name, value in medians.items():
        print(f"  {name}: {value:.2f} s (all: {', '.join(f'{v:.2f}' for v in epochs[name])})")
    print(f"  share of the augmentation: {100 * (medians['with bank'] / medians['without'] - 1):.1f} %")


if __name__ == "__main__":
    main()
