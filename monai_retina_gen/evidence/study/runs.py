"""The runs of a study: which there are, each carried out once, its result on disk before the next begins."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from monai_retina_gen.data import write_json

from .arms import BASELINE, GENERATIVE, Condition, replacement_probabilities
from .config import StudyConfig
from .material import GeneratedImages, Material, Run
from .photographs import Photographs
from .side_by_side import mapped
from .training import TrainingPhotographs, classic_transform, predict_grades, train_grader

logger = logging.getLogger("monai_retina_gen.study")
RESULT = "result.json"


def list_runs(conditions: Sequence[Condition], config: StudyConfig) -> list[Run]:
    """All runs, seed by seed, so that a study stopped early has every arm; what is compared first."""
    order = (lambda c: c.arm == BASELINE, lambda c: c.arm in GENERATIVE)
    conditions = sorted(conditions, key=lambda c: next((i for i, is_it in enumerate(order) if is_it(c)), len(order)))
    folds = range(config.cross_validation) if config.cross_validation else [-1]
    return [
        Run(condition, grader, seed, fold)
        for seed in range(config.seeds)
        for fold in folds
        for grader in config.graders
        for condition in conditions
    ]


def carry_out(runs: Sequence[Run], material: Material, jobs: int = 1) -> None:
    """Carry out those runs that have no result yet, in their order, with the time that is left in the log.

    Several `jobs` share them (a GPU serves several); what is generated of each training part is made first.
    """
    folder = Path(material.config.out) / "runs"
    waiting = [run for run in runs if not (folder / run.id / RESULT).is_file()]
    logger.info("%d runs, %d of them done before", len(runs), len(runs) - len(waiting))
    if jobs > 1:
        make_ahead(waiting, material, jobs)
    begun = time.monotonic()

    def carry(number: int) -> None:
        run, started = waiting[number], time.monotonic()
        material.move(material.config.device)
        result = _result(run, material)
        seconds = time.monotonic() - started
        write_json({**result, "timing": {"seconds": seconds}}, folder / run.id / RESULT)
        left = (time.monotonic() - begun) / (number + 1) * (len(waiting) - number - 1)
        logger.info(
            "run %d/%d %s: validation kappa %.3f, %.0f s; %d h %02d min left",
            number + 1, len(waiting), run.id, result["validation_kappa"], seconds, left // 3600, left % 3600 // 60,
        )  # fmt: skip

    mapped(carry, range(len(waiting)), jobs)


def make_ahead(runs: Sequence[Run], material: Material, jobs: int) -> None:
    """Make what replaces photographs in some runs, a process for each training part."""
    parts: dict[str, list[Run]] = {}
    for run in runs:
        if run.condition.generator:
            parts.setdefault(material.part(run), []).append(run)
    material.read_ahead(jobs)

    def make(runs_of_part: list[Run]) -> None:
        material.move(material.config.device)
        for condition in dict.fromkeys(run.condition for run in runs_of_part):
            material.generated(runs_of_part[0]).alternatives(condition)

    mapped(make, list(parts.values()), jobs)


def _result(run: Run, material: Material) -> dict[str, Any]:
    split, generated = material.split(run), material.generated(run)
    condition, config, training, selecting = run.condition, material.config, generated.photographs, split.selecting
    transform = classic_transform(condition.arm, config.classic)
    alternatives = generated.alternatives(condition)
    data = TrainingPhotographs(training, transform, replacement_probabilities(condition, training), alternatives)
    balanced = condition.arm == BASELINE or bool(condition.generator)  # every label is drawn equally often
    options: dict[str, Any] = {"balanced": balanced, "backbone": run.grader, "config": config, "seed": run.seed}
    network, report = train_grader(data, selecting, **options)
    judged = dict(material.tests)
    if split.judged:
        judged["cross-validation"] = material.training.select(split.judged)
    return {
        "run": {"id": run.id, **vars(condition), "grader": run.grader, "seed": run.seed, "fold": run.fold},
        **report,
        "predictions": {
            "validation": _predictions(network, selecting, config),
            **{name: _predictions(network, photographs, config) for name, photographs in judged.items()},
        },
        "generated": _generated(network, condition, generated),
    }


def _predictions(network: nn.Module, photographs: Photographs, config: StudyConfig) -> dict[str, Any]:
    preds, target = predict_grades(network, photographs.images, config).tolist(), photographs.labels.tolist()
    return {"image": photographs.names, "group": photographs.groups, "target": target, "pred": preds}


def _generated(network: nn.Module, condition: Condition, made: GeneratedImages) -> dict[str, Any]:
    """Grades that a grader trained on photographs alone gives to generated images: Tr-Real / Te-Fake of DR-GAN."""
    config = made.config
    if condition.arm != "none" or config.grade_map or config.label_grades:
        return {}
    return {
        name: {"target": bank.grades, "pred": predict_grades(network, bank.images, config).tolist()}
        for name, bank in made.banks.items()
        if bank.images.shape[-1] == config.image_size
    }


def read_results(runs: Sequence[Run], out: str) -> list[dict[str, Any]]:
    """Results of runs, in their order."""
    return [json.loads((Path(out) / "runs" / run.id / RESULT).read_text(encoding="utf-8")) for run in runs]
