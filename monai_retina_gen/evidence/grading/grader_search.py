"""Cross-validate settings of a grader's training side by side, and train the best of them.

Choices are made out of fold over training and validation; the test section is never read. A setting counts once all its
folds are done. Within a time limit two thirds go to the settings and the rest to the final trainings.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.data import Item, load_datalist, write_json
from monai_retina_gen.metrics import (
    accuracy_from_confusion,
    grade_confusion_matrix,
    kappa_from_confusion,
    sensitivity_from_confusion,
)
from monai_retina_gen.weights import find_bundle, load_state, read_inference_config, save_parts, save_state

from .cross_fit import bundle_workflow, shipped_logits

logger = logging.getLogger(__name__)
CONFIG, REPORT, WEIGHTS = "search", "search.json", "graders.pt"
SEARCH_SHARE = 0.68  # of the time, after which no setting is begun any more


class GraderSearch:
    """Trainings of a bundle's grader: settings (keys of `train.json` by name) over folds, the best with more seeds.

    Without `settings` those of the bundle's `configs/search.json` are tried, in their order. Weights are written as
    `graders_1.pt` and so on: `fold0`... of the best setting, `seed0`... trained with it on the training section.
    """

    def __init__(
        self,
        bundle: str | Path,
        datalist: str,
        out: str | Path,
        *,
        dataset_dir: str | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        folds: int = 5,
        seeds: int = 3,
        workers: int = 1,
        minutes: float = 60 * 24,
    ) -> None:
        self.bundle, self.out, self.folds, self.seeds = find_bundle(bundle), Path(out), folds, seeds
        self.settings = settings or read_inference_config(self.bundle, CONFIG)["settings"]
        size = read_inference_config(self.bundle, "train")["image_size"]
        self.shared = {"datalist": datalist, "dataset_dir": dataset_dir, "image_size": size}
        whole = load_datalist(datalist, dataset_dir, require_grade=True)
        self.items: list[Item] = [*whole["training"], *whole["validation"]]
        self.workers, self.start, self.limit = workers, time.monotonic(), 60 * minutes
        self.done: dict[str, dict[str, Any]] = {}

    def run(self) -> dict[str, Any]:
        """Try the settings, train the best, and return what `search.json` holds."""
        with tempfile.TemporaryDirectory() as scratch:
            self.scratch = Path(scratch)
            # several are spawned: a forked process cannot use a GPU that its parent knows
            spawn = multiprocessing.get_context("spawn")
            with spawn.Pool(self.workers) if self.workers > 1 else ThreadPool(1) as pool:
                files = self._cache(pool)
                named = [(name, fold) for name in self.settings for fold in range(self.folds)]
                tries = [Training(f"{name} fold {fold}", self._of(name), fold) for name, fold in named]
                self._train(pool, files, tries, SEARCH_SHARE * self.limit)
                if best := self.best():
                    finals = [Training(f"final {seed}", self._of(best), None, seed) for seed in range(self.seeds)]
                    self._train(pool, files, finals, self.limit)
            self.write()
        return self.report()

    def best(self) -> str | None:
        """The setting with the highest kappa out of fold, of those whose folds are all done."""
        figures = self.figures()
        return max(figures, key=lambda name: figures[name]["kappa"]) if figures else None

    def figures(self) -> dict[str, dict[str, Any]]:
        """Out-of-fold figures of the settings whose folds are all done."""
        parts = {name: [self.done.get(f"{name} fold {fold}") for fold in range(self.folds)] for name in self.settings}
        return {name: out_of_fold([part["held_out"] for part in of if part]) for name, of in parts.items() if all(of)}

    def report(self) -> dict[str, Any]:
        """Settings, figures and every prediction."""
        return {"settings": self.settings, "out_of_fold": self.figures(), "best": self.best(), "trainings": self.done}

    def write(self) -> None:
        """Write report and weights: after every training, so that a limit from outside loses only what was not done."""
        write_json(self.report(), self.out / REPORT, sort_keys=False)
        names = {f"{self.best()} fold {fold}": f"fold{fold}" for fold in range(self.folds)}
        names |= {f"final {seed}": f"seed{seed}" for seed in range(self.seeds)}
        states = {short: load_state(self.scratch / f"{name}.pt") for name, short in names.items() if name in self.done}
        for old in self.out.glob(f"{Path(WEIGHTS).stem}*.pt"):
            old.unlink()
        if states:
            joined = {f"{short}.{key}": value for short, state in states.items() for key, value in state.items()}
            save_parts(joined, self.out / WEIGHTS, half=True, most=15_000_000)

    def _of(self, name: str) -> dict[str, Any]:
        return {**self.shared, **self.settings[name]}

    def _cache(self, pool: Any) -> dict[int, tuple[str, ...]]:
        """Files of the photographs by their size, read once by all processes together."""
        parts = [part for i in range(self.workers) if (part := self.items[i :: self.workers])]
        sizes = dict.fromkeys(self._of(name)["image_size"] for name in self.settings)
        files = {size: tuple(str(self.scratch / f"{size}_{i}.pt") for i in range(len(parts))) for size in sizes}
        jobs = [
            (str(self.bundle), part, {**self.shared, "image_size": size}, file)
            for size in sizes
            for part, file in zip(parts, files[size], strict=True)
        ]
        pool.starmap(cache_photographs, jobs, chunksize=1)
        logger.info(f"{len(self.items)} photographs read, {self._seconds():.0f} s")
        return files

    def _train(self, pool: Any, files: dict[int, tuple[str, ...]], trainings: Sequence[Training], until: float) -> None:
        end = time.time() + until - self._seconds()
        jobs = [
            (end, str(self.bundle), one, str(self.scratch), files[one.settings["image_size"]], self.folds)
            for one in trainings
        ]
        ended = pool.imap_unordered(_attempt, jobs)
        for left in range(len(jobs), 0, -1):
            try:
                name, outcome = ended.next(timeout=max(self.limit - self._seconds(), 0.1))
            except multiprocessing.TimeoutError:
                logger.warning(f"the time is over: {left} trainings are left undone")
                return
            if isinstance(outcome, str):
                logger.error(f"{name} failed, the others go on: {outcome}"[:2000])
            elif outcome is not None:
                self.done[name] = outcome
                kappa = out_of_fold([outcome["held_out"]])["kappa"]
                logger.info(f"{self._seconds():.0f} s: {name}, {outcome['seconds']:.0f} s, kappa {kappa:.3f}")
                setting = name.rpartition(" fold ")[0]
                if figures := self.figures().get(setting):
                    logger.info(f"{setting}: out of fold {json.dumps(figures)}")
                self.write()

    def _seconds(self) -> float:
        return time.monotonic() - self.start


def _attempt(job: tuple[Any, ...]) -> tuple[str, dict[str, Any] | str | None]:
    """A training's name and outcome: what went wrong where it failed, `None` where it is too late to begin."""
    end, *arguments = job
    try:
        return arguments[1].name, run_training(*arguments) if time.time() < end else None
    except Exception as error:  # the others go on
        return arguments[1].name, repr(error)


def out_of_fold(parts: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Kappa, accuracy and sensitivities of the predictions of several folds together."""
    rows = [row for part in parts for row in part.values()]
    preds = torch.tensor([row["logits"] for row in rows]).argmax(1)
    target = torch.tensor([row["grade"] for row in rows])
    confusion = grade_confusion_matrix(preds, target, len(rows[0]["logits"]))
    return {
        "n": len(rows),
        "kappa": round(float(kappa_from_confusion(confusion)), 4),
        "accuracy": round(float(accuracy_from_confusion(confusion)), 4),
        "sensitivity": [round(x, 3) for x in sensitivity_from_confusion(confusion).tolist()],
    }


@dataclass(frozen=True)
class Training:
    """One training of a search."""

    name: str  # of its folder
    settings: Mapping[str, Any] = field(default_factory=dict)  # keys of the bundle's `train.json`
    fold: int | None = None  # that is held out; None for the datalist's own training section
    seed: int = 0  # of everything that is drawn


class _CachedPhotographs:
    """The deterministic transforms of `train.json`, made before into files: from an item to its image and grade."""

    def __init__(self, files: tuple[str, ...]) -> None:
        parts = [torch.load(file, mmap=True, weights_only=True) for file in files]
        self.images = {name: image for p in parts for name, image in zip(p["names"], p["images"], strict=True)}

    def __call__(self, item: Item) -> Item:
        return {"image": self.images[item["image"]].float() / 255, "grade": item["grade"]}


_read_cached = cache(_CachedPhotographs)  # the class itself stays a class, which loaders' processes can pickle


def cache_photographs(bundle: str, items: Sequence[Item], settings: Mapping[str, Any], file: str) -> None:
    """Load photographs as `train.json` does and keep them as bytes in `file`."""
    parser = bundle_workflow(bundle, Path(file).with_suffix(""), ["train"], **settings).parser
    parser.parse()
    transform = parser.get_parsed_content("validate#preprocessing")
    images = [(transform(item)["image"] * 255).round().to(torch.uint8).as_subclass(Tensor) for item in items]
    torch.save({"names": [item["image"] for item in items], "images": torch.stack(images)}, file)


def run_training(bundle: str, training: Training, out: str, files: tuple[str, ...], folds: int) -> dict[str, Any]:
    """Train, save the averaged weights as `<out>/<name>.pt` in half precision, and grade what was held out."""
    start, torch_threads = time.monotonic(), torch.get_num_threads()
    torch.set_num_threads(1)  # as many processes as cores: further threads would only wait
    settings = {
        "load_transforms": [_read_cached(files)],
        "fold": training.fold,
        "folds": folds,
        "seed": training.seed,
    }
    settings |= {"val_interval": 10**6}  # a fixed schedule: nothing is selected, nothing needs to be looked at
    workflow = bundle_workflow(bundle, Path(out) / training.name, ["train"], **{**settings, **training.settings})
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    parser = workflow.parser
    network: nn.Module = parser.get_parsed_content("averaged_network")
    save_state(network.state_dict(), Path(out) / f"{training.name}.pt", half=True)
    loader = torch.utils.data.DataLoader(parser.get_parsed_content("validate#dataset"), batch_size=32)
    batches = (batch["image"] for batch in loader)
    logits = shipped_logits(network, network.state_dict(), batches, parser.get_parsed_content("device"))
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
