"""Trainings of a grader's bundle: one fold or setting each, and the predictions for what was held out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.data import Datalist, Item
from monai_retina_gen.engines import fold_datalist
from monai_retina_gen.evidence.evaluation.image_sets import photographs
from monai_retina_gen.weights import load_state, save_state

logger = logging.getLogger(__name__)
CONFIGS = ("train", "cross_fit")
FINAL = "final.pt"


def _workflow(bundle: str | Path, out: Path, configs: Sequence[str], **settings: Any) -> Any:
    from monai.bundle import ConfigWorkflow

    return ConfigWorkflow(
        config_file=[str(Path(bundle) / "configs" / f"{name}.json") for name in configs],
        workflow_type="train",
        logging_file=False,  # the command line has its own
        bundle_root=str(bundle),
        output_dir=str(out),
        **settings,
    )


@torch.no_grad()
def _logits(network: nn.Module, state: Mapping[str, Tensor], batches: Iterable[Tensor], device: Any) -> Tensor:
    """Logits, in float32, of the network with these weights as they are shipped: in half precision."""
    network.load_state_dict({k: v.half().to(v) if v.is_floating_point() else v for k, v in state.items()})
    network.eval()
    return torch.cat([network(batch.to(device)).float().cpu() for batch in batches])


def train_fold(bundle: Path, out: Path, fold: int, folds: int, settings: Mapping[str, Any]) -> Any:
    """Run the bundle's training for one fold of cross-fitting, or go on with it; returns the workflow."""
    resume = bool(list(out.glob("state_*.pt")))
    workflow = _workflow(bundle, out, CONFIGS, fold=fold, folds=folds, resume=resume, **settings)
    workflow.initialize()
    if not (out / FINAL).is_file():
        workflow.run()
        save_state(workflow.parser.get_parsed_content("averaged_network").state_dict(), out / FINAL)
        workflow.finalize()
    return workflow


def fold_outcome(
    bundle: Path, out: Path, whole: Datalist, fold: int, folds: int, settings: Mapping[str, Any]
) -> tuple[Tensor, Tensor, dict[str, Any], int]:
    """Out-of-fold logits and labels, the network's definition and its image size."""
    logger.info("fold %d of %d", fold + 1, folds)
    parser = train_fold(bundle, out / f"fold{fold}", fold, folds, settings).parser
    size, device = int(parser.get_parsed_content("image_size")), parser.get_parsed_content("device")
    held_out = photographs(fold_datalist(whole, fold, folds)["validation"], size, f"fold {fold}")
    batches = (held_out.floats(slice(i, i + 32)) for i in range(0, len(held_out), 32))
    # the network of the last epoch, also where this fold was trained in an earlier run
    state = load_state(out / f"fold{fold}" / FINAL)
    logits = _logits(parser.get_parsed_content("averaged_network"), state, batches, device)
    definition = {key: parser.get_parsed_content(f"network_def::{key}") for key in parser.get("network_def")}
    return logits, torch.tensor(held_out.grades), definition, size


@dataclass(frozen=True)
class Training:
    """One training of a search."""

    name: str  # of its folder
    settings: Mapping[str, Any] = field(default_factory=dict)  # keys of the bundle's `train.json`
    fold: int | None = None  # that is held out; None for the datalist's own training section
    seed: int = 0  # of everything that is drawn


class _CachedPhotographs:
    """The deterministic transforms of `train.json`, made before: from an item to its image and grade."""

    def __init__(self, images: Mapping[str, Tensor]) -> None:
        self.images = images

    def __call__(self, item: Item) -> Item:
        return {"image": self.images[item["image"]].float() / 255, "grade": item["grade"]}


def cache_photographs(bundle: str, items: Sequence[Item], settings: Mapping[str, Any], file: str) -> None:
    """Load photographs as `train.json` does and keep them as bytes in `file`."""
    parser = _workflow(bundle, Path(file).with_suffix(""), ["train"], **settings).parser
    parser.parse()
    transform = parser.get_parsed_content("validate#preprocessing")
    images = [(transform(item)["image"] * 255).round().to(torch.uint8).as_subclass(Tensor) for item in items]
    torch.save({"names": [item["image"] for item in items], "images": torch.stack(images)}, file)


@cache
def _read_cached(files: tuple[str, ...]) -> _CachedPhotographs:
    found: dict[str, Tensor] = {}
    for file in files:
        part = torch.load(file, mmap=True, weights_only=True)
        found |= dict(zip(part["names"], part["images"], strict=True))
    return _CachedPhotographs(found)


def run_training(bundle: str, training: Training, out: str, files: tuple[str, ...], folds: int) -> dict[str, Any]:
    """Train, save the averaged weights as `<out>/<name>.pt` in half precision, and grade what was held out.

    Returns:
        Name, seconds, and by group of the held-out photographs their grade and logits.
    """
    start, torch_threads = time.monotonic(), torch.get_num_threads()
    torch.set_num_threads(1)  # as many processes as cores: further threads would only wait
    settings = {"load_transforms": [_read_cached(files)], "fold": training.fold, "folds": folds, "seed": training.seed}
    settings |= {"val_interval": 10**6}  # a fixed schedule: nothing is selected, nothing needs to be looked at
    workflow = _workflow(bundle, Path(out) / training.name, ["train"], **{**settings, **training.settings})
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    parser = workflow.parser
    network: nn.Module = parser.get_parsed_content("averaged_network")
    save_state(network.state_dict(), Path(out) / f"{training.name}.pt", half=True)
    loader = torch.utils.data.DataLoader(parser.get_parsed_content("validate#dataset"), batch_size=32)
    batches = (batch["image"] for batch in loader)
    logits = _logits(network, network.state_dict(), batches, parser.get_parsed_content("device"))
    items = parser.get_parsed_content("data")["validation"]
    torch.set_num_threads(torch_threads)
    return {
        "name": training.name,
        "seconds": round(time.monotonic() - start, 1),
        "held_out": {
            str(item["group"]): {"grade": int(item["grade"]), "logits": [round(value, 4) for value in row]}
            for item, row in zip(items, logits.tolist(), strict=True)
        },
    }
