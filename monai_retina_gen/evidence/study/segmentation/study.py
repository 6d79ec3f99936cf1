"""A segmentation study from its settings to its results: PR-AUC of the arms over photographs and training seeds."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen import __version__
from monai_retina_gen.data import MASK_KEYS, SECTIONS, Datalist, Item, load_datalist, unit_of, write_json
from monai_retina_gen.data.files import atomic_path, begin_folder, write_atomically
from monai_retina_gen.engines import fold_of_group, official_test, training_folds
from monai_retina_gen.evidence.report.html import interval_text, markdown_table
from monai_retina_gen.evidence.study.config import PLACES
from monai_retina_gen.generators import RetinaGenerator, load_generator
from monai_retina_gen.generators.content_record import generator_record, items_sha256
from monai_retina_gen.generators.lesion_painting import HEALTHY
from monai_retina_gen.metrics import average_precision, holm, verdict
from monai_retina_gen.metrics.crossed_effects import crossed_interval

from .paintings import made_pairs
from .training import (
    PAINTED_ARMS,
    SYNTHESIZED_ARMS,
    SegmentationStudyConfig,
    crop_batches,
    judge_segmenter,
    load_pairs,
    train_segmenter,
)

logger = logging.getLogger("monai_retina_gen.study")
RESULT, SUMMARY = "study.json", "summary.md"
MEAN, EACH, BASELINE = "mean", "each photograph", "classic"


def analyse_curves(
    curves: Mapping[str, np.ndarray], groups: Sequence[str], structures: Sequence[str], *, baseline: str = BASELINE
) -> dict[str, Any]:
    """Figures of every arm, and their differences to the baseline, by structure.

    `curves` are by arm `(seeds, N, structures, 2, bins)` counts of `judge_segmenter`; photographs of one group are
    drawn together. Beside the structures stand their `mean` and `each photograph`, the mean over photographs of the
    mean area over the structures that one shows; these two are not corrected by `p_holm`.
    """
    counts = {arm: _summed(found, groups) for arm, found in curves.items()}
    reference = counts.get(baseline)
    compared = [arm for arm in counts if arm != baseline and reference is not None]
    arms = {arm: _cells(found, None, structures) for arm, found in counts.items()}
    differences = {arm: _cells(counts[arm], reference, structures) for arm in compared}
    cells = [differences[arm][name] for arm in differences for name in structures]
    for cell, p in zip(cells, holm([cell["p"] for cell in cells]), strict=True):
        cell["p_holm"] = p
    return {"arms": arms, "differences": differences}


def _summed(counts: np.ndarray, groups: Sequence[str]) -> Tensor:
    """(seeds, groups, structures, 2, bins): photographs of one group together."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    index = torch.tensor([numbers[name] for name in groups])
    tensor = torch.from_numpy(counts).float()
    return tensor.new_zeros(tensor.shape[0], len(numbers), *tensor.shape[2:]).index_add_(1, index, tensor)


def _cells(counts: Tensor, baseline: Tensor | None, structures: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By structure, and of their mean: a figure with its interval."""
    within = (0.0, 1.0) if baseline is None else (-1.0, 1.0)
    found = crossed_interval(counts, _areas_and_mean, baseline=baseline, within=within).as_dict()
    shared = {name: value for name, value in found.items() if not isinstance(value, list)}
    cells = {
        structure: {name: found[name][column] for name in found if name not in shared} | shared
        for column, structure in enumerate([*structures, MEAN])
    }
    others = None if baseline is None else _by_photograph(baseline)
    each = crossed_interval(
        _by_photograph(counts), lambda sums: sums[..., 0] / sums[..., 1], baseline=others, within=within
    )
    return {**cells, EACH: each.as_dict()}


def _by_photograph(counts: Tensor) -> Tensor:
    """Mean area over the structures that a photograph shows, and 1; zeros where it shows none: `(seeds, groups, 2)`."""
    areas = torch.stack([average_precision(one) for one in counts]).nanmean(-1)
    return torch.stack([areas.nan_to_num(), (~areas.isnan()).double()], -1)


def _areas_and_mean(counts: Tensor) -> Tensor:
    areas = average_precision(counts)
    return torch.cat([areas, areas.nanmean(-1, keepdim=True)], -1)


def run_segmentation_study(
    config: SegmentationStudyConfig,
    generator: RetinaGenerator | str | None = None,
    *,
    only_folds: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Train segmenters in every arm for equally many steps, and compare their PR-AUC on photographs never seen.

    Stopped and called again with the same settings, or with more seeds, it goes on with the trainings that have no
    result; `only_folds` trains these folds alone, so that several processes can work on one study.

    Returns what is written to `out/study.json`: by arm and lesion the PR-AUC over all pixels of the judged photographs,
    differences to `classic`, and a verdict in words; with folds also of the section test alone. Empty while trainings
    are missing.

    Raises:
        ValueError: an arm needs a generator or a larger one, or `out` was begun with other settings.
        DatalistError: no annotated photographs.
    """
    folder = Path(config.out)
    made_by = None if generator is None else load_generator(generator, device=config.device)
    _check_generator(config, made_by)
    datalist = load_datalist(config.datalist, config.dataset_dir)
    predicted = load_datalist(config.masks)["training"] if config.masks else []
    items, keys = {**datalist, "predicted": predicted}, ("image", "group", "grade", *MASK_KEYS)
    settings = {
        **{name: value for name, value in config.settings().items() if name not in (*PLACES, "seeds")},
        "data_sha256": {name: items_sha256(items[name], keys) for name in (*SECTIONS, "predicted")},
        "generator": None if made_by is None else generator_record(made_by),
        "version": __version__,
    }
    begin_folder(folder, settings)
    parts = _parts(config, datalist)
    for fold, (training, judged) in enumerate(parts):
        if only_folds is None or fold in only_folds:
            _run_fold(folder, fold, training, judged, predicted, config, made_by)
    runs = [(arm, seed, fold) for arm in config.arms for seed in range(config.seeds) for fold in range(len(parts))]
    if not all(_path(folder, *run).is_file() for run in runs):
        return {}
    return _results(folder, config, [item for _, judged in parts for item in judged], datalist)


def _parts(config: SegmentationStudyConfig, datalist: Datalist) -> list[tuple[list[Item], list[Item]]]:
    """By fold, training photographs and the annotated ones that are judged."""
    if not config.folds:
        return [(list(datalist["training"]), _annotated(datalist["test"], config))]
    annotated = _annotated([item for section in SECTIONS for item in datalist[section]], config)
    rest = [item for item in datalist["training"] if item not in annotated]
    found = []
    for training, judged in training_folds(annotated, fold_of_group(annotated, config.folds)):
        units = {unit_of(item) for item in judged}  # neighbours may be the same patient's
        found.append(([*training, *(item for item in rest if unit_of(item) not in units)], judged))
    return found


def _annotated(items: Sequence[Item], config: SegmentationStudyConfig) -> list[Item]:
    return [item for item in items if any(key in item for key in config.structures)]


def _run_fold(
    folder: Path,
    fold: int,
    training: Sequence[Item],
    judged: Sequence[Item],
    predicted: Sequence[Item],
    config: SegmentationStudyConfig,
    generator: RetinaGenerator | None,
) -> None:
    """All trainings of a fold that have no result, seed by seed, so that a study stopped early has every arm."""
    runs = [(arm, seed) for seed in range(config.seeds) for arm in config.arms]
    waiting = [(arm, seed) for arm, seed in runs if not _path(folder, arm, seed, fold).is_file()]
    if not waiting:
        return
    real, held_out = load_pairs(training, config, "training"), load_pairs(judged, config, "judged")
    annotated = _annotated(training, config)
    healthy = [item for item in training if item.get("grade") == HEALTHY and item not in annotated]
    options: dict[str, Any] = {"healthy": healthy, "predicted": predicted, "folder": folder / "pairs" / f"fold{fold}"}
    arms = dict.fromkeys(arm for arm, _ in waiting)
    pairs = {arm: made_pairs(arm, training, config, generator, **options) for arm in arms}
    for number, (arm, seed) in enumerate(waiting, 1):
        started = time.monotonic()
        data = crop_batches(real, pairs[arm], config, seed, augment=arm != "none")
        counts = judge_segmenter(train_segmenter(data, config, seed), held_out, config)
        with atomic_path(_path(folder, arm, seed, fold)) as part, part.open("wb") as file:
            np.savez_compressed(file, counts=counts)
        seconds = time.monotonic() - started
        logger.info("fold %d, run %d/%d %s seed %d: %.0f s", fold, number, len(waiting), arm, seed, seconds)


def _results(
    folder: Path, config: SegmentationStudyConfig, judged: Sequence[Item], datalist: Datalist
) -> dict[str, Any]:
    curves = {arm: np.stack([_read(folder, arm, seed, config) for seed in range(config.seeds)]) for arm in config.arms}
    groups = [str(item.get("group", item["image"])) for item in judged]
    result = {"settings": config.settings(), "n_test": len(judged), **analyse_curves(curves, groups, config.structures)}
    if "healthy" in curves and "canvas" in curves:
        both = {arm: curves[arm] for arm in ("healthy", "canvas")}
        compared = analyse_curves(both, groups, config.structures, baseline="healthy")
        result["canvas_over_healthy"] = compared["differences"]["canvas"]
    for name, items in (("test_section", datalist["test"]), ("official_test", official_test(datalist["test"]))):
        rows = [row for row, item in enumerate(judged) if item in items]
        if config.folds and len(rows) > 1:
            part = {arm: found[:, rows] for arm, found in curves.items()}
            result[name] = {"n": len(rows), **analyse_curves(part, [groups[i] for i in rows], config.structures)}
    result["words"] = _words(result["differences"], len(judged))
    write_json(result, folder / RESULT)
    write_atomically(folder / SUMMARY, _summary(result, config))
    return result


def _check_generator(config: SegmentationStudyConfig, generator: RetinaGenerator | None) -> None:
    asked = [arm for arm in config.arms if arm in (*PAINTED_ARMS, *SYNTHESIZED_ARMS)]
    for arm in asked:
        if generator is None:
            raise ValueError(f"arms {asked} need a generator (--generators), or leave them out (--arms none classic)")
        generator.check_mode("edit" if arm in PAINTED_ARMS else "synthesize")
        if arm in SYNTHESIZED_ARMS and generator.image_size < config.image_size:
            raise ValueError(
                f"{generator.name} makes {generator.image_size} px and the study has {config.image_size} px: enlarged "
                "images would be told by their blur; use a smaller image_size"
            )


def _path(folder: Path, arm: str, seed: int, fold: int) -> Path:
    return folder / "runs" / f"{arm}--seed{seed}--fold{fold}.npz"


def _read(folder: Path, arm: str, seed: int, config: SegmentationStudyConfig) -> np.ndarray:
    """Counts of all judged photographs, fold after fold."""
    found = []
    for fold in range(max(config.folds, 1)):
        with np.load(_path(folder, arm, seed, fold), allow_pickle=False) as stored:
            found.append(np.asarray(stored["counts"]))
    return np.concatenate(found)


def _words(differences: dict[str, Any], photographs: int) -> str:
    found, compared = [], (*PAINTED_ARMS, "synthesize")
    for arm in (arm for arm in compared if arm in differences):
        cell = differences[arm][MEAN]
        said = f"{arm} against {BASELINE}, mean PR-AUC of {photographs} test photographs: {interval_text(cell, '+')}"
        power = "" if cell["p"] is None else f" A difference of {cell['detectable']:.3f} would have been found."
        found.append(f"{said}: {verdict(cell['value'], cell['p'], cell['seeds'])}.{power}")
    return "\n".join(found) or f"No comparison: it needs {BASELINE!r} and one of {', '.join(compared)}."


def _summary(result: dict[str, Any], config: SegmentationStudyConfig) -> str:
    names = [*config.structures, MEAN, EACH]
    rows = [[arm, *(interval_text(cells[name]) for name in names)] for arm, cells in result["arms"].items()]
    rows += [
        [f"{arm} - {BASELINE}", *(interval_text(cells[name], "+") for name in names)]
        for arm, cells in result["differences"].items()
    ]
    return f"{markdown_table(['arm', *names], rows)}\n\n{result['words']}\n"
