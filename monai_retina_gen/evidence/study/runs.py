"""The runs of a study: which there are, each carried out once, its result on disk before the next begins."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from monai_retina_gen.data import split_by_group, write_json
from monai_retina_gen.generators import RetinaGenerator

from .alternatives import Alternatives, Bank, make_alternatives, make_bank
from .arms import Condition, bank_mode, replacement_probabilities
from .classic import classic_transform
from .config import StudyConfig
from .photographs import Photographs
from .training import TrainingPhotographs, predict_grades, train_grader

__all__ = ["Material", "Run", "carry_out", "list_runs", "read_results"]

logger = logging.getLogger("monai_retina_gen.study")
RESULT = "result.json"
Rows = list[int]


@dataclass(frozen=True)
class Run:
    """One training: condition, grader, seed, and the fold that judges (-1 without cross-validation)."""

    condition: Condition
    grader: str
    seed: int
    fold: int = -1

    @property
    def id(self) -> str:
        """Name of the run's folder."""
        fold = "" if self.fold < 0 else f"--fold{self.fold}"
        return f"{self.condition.id}--{self.grader}--seed{self.seed}{fold}"


def list_runs(conditions: Sequence[Condition], config: StudyConfig) -> list[Run]:
    """All runs, seed by seed, so that a study stopped early has every arm."""
    folds = range(config.cross_validation) if config.cross_validation else [-1]
    return [
        Run(condition, grader, seed, fold)
        for seed in range(config.seeds)
        for fold in folds
        for grader in config.graders
        for condition in conditions
    ]


class Material:
    """Photographs of a study and the images that its generators make of them.

    Args:
        training: photographs that may be trained on: those of training, or with cross-validation of validation too.
        validation: photographs that select the epoch; not used with cross-validation.
        tests: photographs that judge, by name: `test` and the external sets.
        generators: by name.
        config: the study's settings.
    """

    def __init__(
        self,
        training: Photographs,
        validation: Photographs,
        tests: Mapping[str, Photographs],
        generators: Mapping[str, RetinaGenerator],
        config: StudyConfig,
    ) -> None:
        self.training, self.validation, self.tests = training, validation, dict(tests)
        self.generators, self.config = dict(generators), config
        self._alternatives: dict[tuple[str, str], Alternatives] = {}
        self._banks: dict[tuple[str, str], Bank] = {}

    @property
    def banks(self) -> dict[str, Bank]:
        """Generated images by generator, made at first use: those that the study's arms use."""
        anatomy = self.training.own_grades and any("vessel" in item for item in self.training.items)
        return {
            name: self.bank(name)
            for name, generator in self.generators.items()
            if anatomy or bank_mode("", generator, self.config.arms) == "sample"
        }

    def bank(self, name: str, arm: str = "") -> Bank:
        """Generated images for an arm; for none in particular, those of the arms that the study has."""
        mode = bank_mode(arm, self.generators[name], self.config.arms)
        if (name, mode) not in self._banks:
            folder = Path(self.config.out) / "banks" / (name if mode == "sample" else f"{name}-{mode}")
            self._banks[name, mode] = make_bank(self.generators[name], self.training, folder, self.config, mode)
        return self._banks[name, mode]

    def alternatives(self, condition: Condition) -> Alternatives | None:
        """What replaces photographs in a condition, made at first use and kept."""
        name = condition.generator
        if not name:
            return None
        key = ("sample" if condition.arm == "sample-uniform" else condition.arm, name)
        if key not in self._alternatives:
            made = make_alternatives(key[0], self.generators[name], self.bank(name, key[0]), self.training, self.config)
            self._alternatives[key] = made
        return self._alternatives[key]

    def split(self, run: Run) -> tuple[Rows, Photographs, Rows]:
        """Rows of `training` to train on, photographs that select, and rows that judge (none without folds)."""
        if run.fold < 0:
            return list(range(len(self.training))), self.validation, []
        fold_of = _folds(self.training, self.config.cross_validation, run.seed)
        selecting = (run.fold + 1) % self.config.cross_validation
        rows: dict[str, Rows] = {"train": [], "select": [], "judge": []}
        for row, fold in enumerate(fold_of):
            rows["judge" if fold == run.fold else "select" if fold == selecting else "train"].append(row)
        return rows["train"], self.training.select(rows["select"]), rows["judge"]


def _folds(photographs: Photographs, count: int, seed: int) -> list[int]:
    """Fold of each photograph: groups together, labels spread evenly, another division for every seed."""
    items = [
        {"row": row, "group": group, "grade": label}
        for row, (group, label) in enumerate(zip(photographs.groups, photographs.labels.tolist(), strict=True))
    ]
    fold_of = [0] * len(items)
    for fold in range(count, 1, -1):  # each fold is cut off what is left
        parts = split_by_group(items, (1 - 1 / fold, 0.0, 1 / fold), seed=seed)
        for item in parts["test"]:
            fold_of[item["row"]] = fold - 1
        items = parts["training"]
    return fold_of


def carry_out(runs: Sequence[Run], material: Material) -> None:
    """Carry out those runs that have no result yet, with the time that is left in the log."""
    folder = Path(material.config.out) / "runs"
    waiting = [run for run in runs if not (folder / run.id / RESULT).is_file()]
    logger.info("%d runs, %d of them done before", len(runs), len(runs) - len(waiting))
    begun = time.monotonic()
    for number, run in enumerate(waiting, 1):
        started = time.monotonic()
        result = _result(run, material)
        seconds = time.monotonic() - started
        (folder / run.id).mkdir(parents=True, exist_ok=True)
        write_json({**result, "timing": {"seconds": seconds}}, folder / run.id / RESULT)
        left = (time.monotonic() - begun) / number * (len(waiting) - number)
        logger.info(
            "run %d/%d %s: validation kappa %.3f, %.0f s; %d h %02d min left",
            number, len(waiting), run.id, result["validation_kappa"], seconds, left // 3600, left % 3600 // 60,
        )  # fmt: skip


def _result(run: Run, material: Material) -> dict[str, Any]:
    rows, selecting, judging = material.split(run)
    training, condition, config = material.training.select(rows), run.condition, material.config
    alternatives = material.alternatives(condition)
    if alternatives is not None:
        alternatives = Alternatives(alternatives.images, [alternatives.rows[row] for row in rows])
    transform = classic_transform(condition.arm, config.classic)
    data = TrainingPhotographs(training, transform, replacement_probabilities(condition, training), alternatives)
    network, report = train_grader(
        data, selecting, balanced=condition.balanced, backbone=run.grader, config=config, seed=run.seed
    )
    judged = dict(material.tests)
    if judging:
        judged["cross-validation"] = material.training.select(judging)
    return {
        "run": {"id": run.id, **vars(condition), "grader": run.grader, "seed": run.seed, "fold": run.fold},
        **report,
        "predictions": {
            "validation": _predictions(network, selecting, config),
            **{name: _predictions(network, photographs, config) for name, photographs in judged.items()},
        },
        "generated": _generated(network, condition, material),
    }


def _predictions(network: nn.Module, photographs: Photographs, config: StudyConfig) -> dict[str, Any]:
    preds = predict_grades(network, photographs.images, config).tolist()
    return {
        "image": photographs.names,
        "group": photographs.groups,
        "target": photographs.labels.tolist(),
        "pred": preds,
    }


def _generated(network: nn.Module, condition: Condition, material: Material) -> dict[str, Any]:
    """Grades that a grader trained on photographs alone gives to generated images: Tr-Real / Te-Fake of DR-GAN."""
    config = material.config
    if condition.arm != "none" or config.grade_map or config.label_grades:
        return {}
    return {
        name: {"target": bank.grades, "pred": predict_grades(network, bank.images, config).tolist()}
        for name, bank in material.banks.items()
        if bank.images.shape[-1] == config.image_size
    }


def read_results(runs: Sequence[Run], out: str) -> list[dict[str, Any]]:
    """Results of runs, in their order."""
    return [json.loads((Path(out) / "runs" / run.id / RESULT).read_text(encoding="utf-8")) for run in runs]
