"""A study from its settings to its results: `run_study`, each run once, its result on disk before the next begins."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_retina_gen import __version__
from monai_retina_gen.data import MASK_KEYS, Datalist, check_labels_are_grades, load_datalist, write_json
from monai_retina_gen.data.files import begin_folder
from monai_retina_gen.generators import RetinaGenerator, load_generator
from monai_retina_gen.generators.content_record import files_sha256, generator_record, items_sha256
from monai_retina_gen.metrics import FEWEST_SEEDS

from .analysis import analyse
from .arms import BASELINE, GENERATIVE, Condition, expand_arms, replacement_probabilities
from .config import PLACES, StudyConfig
from .detection import detect_generated, detect_paintings
from .material import GeneratedImages, Material, Run
from .photographs import Photographs, load_photographs, mapped, with_predicted
from .tables import draw_plots, write_tables
from .training import TrainingPhotographs, classic_transform, predict_grades, train_grader

logger = logging.getLogger("monai_retina_gen.study")
RESULT, RUN_RESULT, FEW = "study.json", "result.json", 10


def run_study(config: StudyConfig, generators: Mapping[str, RetinaGenerator | str], *, jobs: int = 1) -> dict[str, Any]:
    """Train graders in every arm, judge them on photographs that they never saw, and say whether it helped.

    Stopped at any moment and called again with the same settings, it goes on with the runs that have no result yet.

    Args:
        config: the settings.
        generators: objects, or bundle names or folders, by the name that they have in the results.
        jobs: trainings side by side, in processes of their own: the results are the same. One GPU serves six or eight.

    Returns:
        What is written to `out/study.json`: `settings`, `skipped`, `warnings`, `runs`, `sets` (figures by set, arm and
        grader), `comparisons`, `primary` (with its verdict in words), `detection`. Tables and plots lie beside it.

    Raises:
        ValueError: `out` was begun with other settings, data or generators; names what differs.
        DatalistError: a section without graded photographs.
    """
    folder = Path(config.out)
    device = config.device if jobs <= 1 else "cpu"  # a process that uses a GPU cannot be forked
    loaded = {name: load_generator(source, device=device) for name, source in generators.items()}
    material, patients = load_material(config, loaded, jobs)
    begun = study_settings(config, material)
    begin_folder(folder, begun)  # a study whose settings change on the way proves nothing
    conditions, skipped = expand_arms(config, loaded, material.training)
    for line in skipped:
        logger.info(line)
    known = [condition.id for condition in conditions if condition.arm != BASELINE]
    if config.primary and (config.primary not in known or Condition(BASELINE) not in conditions):
        raise ValueError(  # before hours are spent on it
            f"primary: {config.primary!r} came; one of {', '.join(known)} is wanted, and the arm {BASELINE} beside it"
        )
    runs = list_runs(conditions, config)
    carry_out(runs, material, jobs)
    results = read_results(runs, config.out)
    steps = {result["steps"] for result in results}
    if len(steps) > 1 and not config.cross_validation and config.severe_share == 1:
        raise RuntimeError(f"runs took different numbers of optimiser steps {sorted(steps)}; this must not happen")
    material.move(config.device)
    seen = material.generated(runs[0])
    study = {
        "format": 1,
        "settings": {**config.settings(), **begun},
        "skipped": skipped,
        "warnings": study_warnings(config, material, patients),
        "runs": [{k: v for k, v in r.items() if k not in ("predictions", "timing")} for r in results],
        **analyse(results, config),
        "detection": {name: detect_generated(seen.photographs, bank, config) for name, bank in seen.banks.items()},
        "painted_detection": detect_paintings(seen, conditions),
        "timing": {"training_seconds": sum(r["timing"]["seconds"] for r in results)},
    }
    write_json(study, folder / RESULT)
    write_tables(study, folder)
    draw_plots(study, folder)
    return study


def load_material(
    config: StudyConfig, generators: Mapping[str, RetinaGenerator], jobs: int = 1
) -> tuple[Material, str]:
    """The photographs of a study with its generators, and what is known of patients."""
    datalist = load_datalist(config.datalist, config.dataset_dir, require_grade=True, label_key=config.label_key)
    sections = ("training", "validation", "test")
    items = {section: datalist[section] for section in sections}
    if config.masks:
        found = load_datalist(config.masks)
        predicted = {item["image"]: item for section in sections for item in found[section]}
        for section in ("training", "validation"):
            items[section] = [with_predicted(item, predicted.get(item["image"])) for item in items[section]]
    if config.cross_validation:
        items["training"] = items["training"] + items["validation"]
    if generators and config.label_grades is None:
        check_labels_are_grades([item[config.label_key] for item in items["training"]], "training")
    loaded = {section: load_photographs(items[section], section, config, jobs) for section in sections}
    tests = {"test": loaded["test"]}
    for source in config.external:
        other: Datalist = load_datalist(source, require_grade=True, label_key=config.label_key)
        name = str(other["name"]) if other["name"] != source else Path(source).stem
        if name in tests:
            raise ValueError(f"external: two sets are called {name!r}; give datalists with different names")
        tests[name] = load_photographs([item for s in sections for item in other[s]], name, config, jobs)
    made = Material(loaded["training"], loaded["validation"], tests, dict(generators), config)
    return made, str(datalist["patients"])


def study_settings(config: StudyConfig, material: Material) -> dict[str, Any]:
    """All that a result depends on."""
    digests = {"training": material.training.digest(), "validation": material.validation.digest()}
    return {
        **{key: value for key, value in config.settings().items() if key not in PLACES},
        "data_sha256": digests | {name: photographs.digest() for name, photographs in material.tests.items()},
        "masks_sha256": items_sha256(material.training.items, MASK_KEYS),
        "files": files_sha256({"init_weights": config.init_weights}),
        "generators": {name: generator_record(generator) for name, generator in material.generators.items()},
        "versions": {"monai_retina_gen": __version__, "torch": torch.__version__},
    }


def study_warnings(config: StudyConfig, material: Material, patients: str) -> list[str]:
    """Lines to be printed with the figures; `patients` is `datalist["patients"]`."""
    lines = []
    if patients == "unknown":
        lines.append(
            "Patients are unknown: the split is by photograph, two eyes of one patient can fall on both sides, and all "
            "figures may be too good. Intervals are by photograph."
        )
    for name, photographs in {"validation": material.validation, **material.tests}.items():
        labels = photographs.labels.tolist()
        few = {label: labels.count(label) for label in range(config.num_classes) if labels.count(label) < FEW}
        if few:
            counts = ", ".join(f"{count} of label {label}" for label, count in few.items())
            lines.append(f"{name}: {len(labels)} photographs, only {counts}: sensitivities of those mean little.")
    if config.seeds < FEWEST_SEEDS:
        seeds = f"{config.seeds} seed(s) for each arm: how much trainings vary is hardly seen"
        lines.append(f"{seeds}, and there is no verdict below {FEWEST_SEEDS}.")
    seen = sorted(set(material.generators) - set(config.unseen))
    if config.cross_validation and seen:
        lines.append(
            f"Cross-validation judges photographs that {', '.join(seen)} may have seen in training: arms with them may "
            "be too good there and get no verdict. Only the test split and external sets are clean."
        )
    if config.cross_validation and any(name.endswith("--gated") for name in config.policies):
        lines.append("The gate's graders may have seen what cross-validation judges, like the generators.")
    if config.severe_share < 1:
        gate = " and the gate" * any(name.endswith("--gated") for name in config.policies)
        lines.append(
            f"Only {config.severe_share:g} of the training photographs of grades 3 and 4 are there, but the generators"
            f"{gate} may have seen the others: no verdict on what generation does where photographs are rare."
        )
    if config.preset == "smoke":
        lines.append("Preset smoke: phantoms and a handful of steps. The figures show that everything runs, no more.")
    return lines


def list_runs(conditions: Sequence[Condition], config: StudyConfig) -> list[Run]:
    """All runs, seed by seed, so that a study stopped early has every arm; what is compared first."""
    conditions = sorted(conditions, key=lambda c: 0 if c.arm == BASELINE else 1 if c.arm in GENERATIVE else 2)
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
    waiting = [run for run in runs if not (folder / run.id / RUN_RESULT).is_file()]
    logger.info("%d runs, %d of them done before", len(runs), len(runs) - len(waiting))
    if jobs > 1:
        make_ahead(waiting, material, jobs)
    begun = time.monotonic()

    def carry(number: int) -> None:
        run, started = waiting[number], time.monotonic()
        material.move(material.config.device)
        result = _result(run, material)
        seconds = time.monotonic() - started
        write_json({**result, "timing": {"seconds": seconds}}, folder / run.id / RUN_RESULT)
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
    return [json.loads((Path(out) / "runs" / run.id / RUN_RESULT).read_text(encoding="utf-8")) for run in runs]
