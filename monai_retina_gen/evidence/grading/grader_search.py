"""Cross-validate settings of a grader's training side by side, and train the best of them.

Choices are made on out-of-fold predictions over training and validation; the test section is never read. A setting
counts once all its folds are done. Within a time limit two thirds go to the settings and the rest to the final ones.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import torch

from monai_retina_gen.data import Item, load_datalist, write_json
from monai_retina_gen.evidence.grading.trainings import Training, cache_photographs, run_training
from monai_retina_gen.metrics import (
    accuracy_from_confusion,
    grade_confusion_matrix,
    kappa_from_confusion,
    sensitivity_from_confusion,
)
from monai_retina_gen.weights import find_bundle, load_state, read_inference_config, save_parts

__all__ = ["GraderSearch", "out_of_fold"]

logger = logging.getLogger(__name__)
CONFIG, REPORT, WEIGHTS = "search", "search.json", "graders.pt"
SEARCH_SHARE = 0.68
"""Share of the time after which no setting is begun any more."""


class GraderSearch:
    """Trainings of a bundle's grader, and what came of them.

    Args:
        bundle: name or folder of a grader's bundle; its `configs/search.json` has the settings where none are given.
        datalist: as the bundle's `datalist`; training and validation are dealt out to folds.
        out: folder for `search.json` and the weights, `graders_1.pt` and so on: `fold0` to `fold4` of the best setting,
            and `seed0`, `seed1`... trained with it on the training section.
        dataset_dir: folder of a named data set.
        settings: keys of `train.json` by the setting's name, in the order in which they are tried.
        folds: number of folds.
        seeds: number of final trainings.
        workers: processes side by side.
        minutes: time limit; what is not begun then stays undone.
        overrides: keys of `train.json` for all settings.
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
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.bundle, self.out, self.folds, self.seeds = find_bundle(bundle), Path(out), folds, seeds
        self.settings = settings or read_inference_config(self.bundle, CONFIG)["settings"]
        self.shared = {"datalist": datalist, "dataset_dir": dataset_dir, **(overrides or {})}
        whole = load_datalist(datalist, dataset_dir, require_grade=True)
        self.items: list[Item] = [*whole["training"], *whole["validation"]]
        self.workers, self.start, self.limit = workers, time.monotonic(), 60 * minutes
        self.done: dict[str, dict[str, Any]] = {}
        self.files: dict[int, tuple[str, ...]] = {}

    def run(self) -> dict[str, Any]:
        """Try the settings, train the best, and return what `search.json` holds."""
        with tempfile.TemporaryDirectory() as scratch:
            self.scratch = Path(scratch)
            # several are spawned: a forked process cannot use a GPU that its parent knows
            several = self.workers > 1
            with multiprocessing.get_context("spawn").Pool(self.workers) if several else ThreadPool(1) as self.pool:
                self._cache()
                folds = range(self.folds)
                tries = [Training(f"{name} fold {f}", self._of(name), f) for name in self.settings for f in folds]
                self._train(tries, SEARCH_SHARE * self.limit)
                if best := self.best():
                    self._train(
                        [Training(f"final {s}", self._of(best), None, s) for s in range(self.seeds)], self.limit
                    )
            self.write()
        return self.report()

    def best(self) -> str | None:
        """The setting with the highest kappa out of fold, of those whose folds are all done."""
        figures = self.figures()
        return max(figures, key=lambda name: figures[name]["kappa"]) if figures else None

    def figures(self) -> dict[str, dict[str, Any]]:
        """Out-of-fold figures of the settings whose folds are all done."""
        found = {}
        for name in self.settings:
            parts = [self.done.get(f"{name} fold {fold}") for fold in range(self.folds)]
            if all(parts):
                found[name] = out_of_fold([part["held_out"] for part in parts if part])
        return found

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

    def _size(self, settings: Mapping[str, Any]) -> int:
        train: dict[str, Any] = json.loads((self.bundle / "configs" / "train.json").read_text(encoding="utf-8"))
        return int(settings.get("image_size", train["image_size"]))

    def _cache(self) -> None:
        """Photographs of every size, read once by all processes together."""
        parts = [part for i in range(self.workers) if (part := self.items[i :: self.workers])]
        jobs = []
        for size in dict.fromkeys(self._size(self._of(name)) for name in self.settings):
            self.files[size] = tuple(str(self.scratch / f"{size}_{i}.pt") for i in range(len(parts)))
            settings = {**self.shared, "image_size": size}
            jobs += [
                (str(self.bundle), part, settings, file) for part, file in zip(parts, self.files[size], strict=True)
            ]
        self.pool.starmap(cache_photographs, jobs, chunksize=1)
        logger.info(f"{len(self.items)} photographs read, {self._seconds():.0f} s")

    def _train(self, trainings: Sequence[Training], until: float) -> None:
        end = time.time() + until - self._seconds()
        jobs = [
            (end, str(self.bundle), one, str(self.scratch), self.files[self._size(one.settings)], self.folds)
            for one in trainings
        ]
        ended = self.pool.imap_unordered(_attempt, jobs)
        for left in range(len(jobs), 0, -1):
            try:
                name, outcome = ended.next(timeout=max(self.limit - self._seconds(), 0.1))
            except multiprocessing.TimeoutError:
                logger.warning(f"the time is over: {left} trainings are left undone")
                return
            self._note(name, outcome)

    def _note(self, name: str, outcome: dict[str, Any] | str | None) -> None:
        if outcome is None:
            return
        if isinstance(outcome, str):
            logger.error(f"{name} failed, the others go on: {outcome}"[:2000])
            return
        self.done[name] = outcome
        kappa = out_of_fold([outcome["held_out"]])["kappa"]
        logger.info(f"{self._seconds():.0f} s: {name}, {outcome['seconds']:.0f} s, kappa {kappa:.3f}")
        for setting, figures in self.figures().items():
            if name.startswith(f"{setting} fold "):
                logger.info(f"{setting}: out of fold {json.dumps(figures)}")
        self.write()

    def _seconds(self) -> float:
        return time.monotonic() - self.start


def _attempt(job: tuple[Any, ...]) -> tuple[str, dict[str, Any] | str | None]:
    """A training's name and outcome: what went wrong where it failed, `None` where it is too late to begin."""
    end, *arguments = job
    name = arguments[1].name
    try:
        return name, run_training(*arguments) if time.time() < end else None
    except Exception as error:  # the others go on
        return name, repr(error)


def out_of_fold(parts: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Kappa, accuracy and sensitivities of the predictions of several folds together.

    Examples:
        >>> part = {f"eye{g}": {"grade": g, "logits": [9.0 * (g == k) for k in range(5)]} for g in range(5)}
        >>> out_of_fold([part])["kappa"]
        1.0
    """
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
