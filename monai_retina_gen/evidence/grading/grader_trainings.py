"""Trainings of a grader's bundle side by side: each in a process of its own, photographs read once for all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.data import Item
from monai_retina_gen.weights import save_state

__all__ = ["Training", "cache_photographs", "run_training"]


@dataclass(frozen=True)
class Training:
    """One training.

    Args:
        name: name of its folder.
        settings: keys of the bundle's `train.json`.
        fold: fold that is held out, or None for the datalist's own training section.
        seed: of everything that is drawn.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    fold: int | None = None
    seed: int = 0


class CachedPhotographs:
    """The deterministic transforms of `train.json`, made before: from an item to its image and grade."""

    def __init__(self, images: Mapping[str, Tensor]) -> None:
        self.images = images

    def __call__(self, item: Item) -> Item:
        return {"image": self.images[item["image"]].float() / 255, "grade": item["grade"]}


def cache_photographs(bundle: str, items: Sequence[Item], settings: Mapping[str, Any], file: str) -> None:
    """Load photographs as `train.json` does and keep them as bytes in `file`."""
    transform = _workflow(bundle, Path(file).with_suffix(""), settings).get_parsed_content("validate#preprocessing")
    images = [(transform(item)["image"] * 255).round().to(torch.uint8).as_subclass(Tensor) for item in items]
    torch.save({"names": [item["image"] for item in items], "images": torch.stack(images)}, file)


@cache
def _read_cached(files: tuple[str, ...]) -> CachedPhotographs:
    found: dict[str, Tensor] = {}
    for file in files:
        part = torch.load(file, mmap=True, weights_only=True)
        found |= dict(zip(part["names"], part["images"], strict=True))
    return CachedPhotographs(found)


def run_training(bundle: str, training: Training, out: str, files: tuple[str, ...], folds: int) -> dict[str, Any]:
    """Train, save the averaged weights as `<out>/<name>.pt` in half precision, and grade what was held out.

    Returns:
        Name, seconds, and by group of the held-out photographs their grade and logits.
    """
    start, torch_threads = time.monotonic(), torch.get_num_threads()
    torch.set_num_threads(1)  # as many processes as cores: further threads would only wait
    settings = {"fold": training.fold, "folds": folds, "seed": training.seed, **training.settings}
    parser = _workflow(
        bundle, Path(out) / training.name, {"load_transforms": [_read_cached(files)], **settings}, run=True
    )
    network: nn.Module = parser.get_parsed_content("averaged_network")
    save_state(network.state_dict(), Path(out) / f"{training.name}.pt", half=True)
    predictions = _predict(network, parser.get_parsed_content("validate#dataset"), parser.get_parsed_content("device"))
    items = parser.get_parsed_content("data")["validation"]
    torch.set_num_threads(torch_threads)
    return {
        "name": training.name,
        "seconds": round(time.monotonic() - start, 1),
        "held_out": {
            str(item["group"]): {"grade": int(item["grade"]), "logits": row}
            for item, row in zip(items, predictions, strict=True)
        },
    }


@torch.no_grad()
def _predict(network: nn.Module, dataset: Any, device: torch.device) -> list[list[float]]:
    """Logits in float32 of the network as it is shipped, in half precision."""
    network.load_state_dict(
        {k: v.half().to(v) if v.is_floating_point() else v for k, v in network.state_dict().items()}
    )
    network.eval()
    batches = torch.utils.data.DataLoader(dataset, batch_size=32)
    logits = torch.cat([network(batch["image"].to(device)).float().cpu() for batch in batches])
    return [[round(value, 4) for value in row] for row in logits.tolist()]


def _workflow(bundle: str, out: Path, settings: Mapping[str, Any], *, run: bool = False) -> Any:
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=str(Path(bundle) / "configs" / "train.json"),
        workflow_type="train",
        logging_file=False,  # the command line has its own
        bundle_root=bundle,
        output_dir=str(out),
        val_interval=10**6,  # a fixed schedule: nothing is selected, nothing needs to be looked at on the way
        **settings,
    )
    if run:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    else:
        workflow.parser.parse()
    return workflow.parser
