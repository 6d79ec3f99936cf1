"""A segmentation study from its settings to its results: `run_segmentation_study`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_retina_gen import __version__
from monai_retina_gen.data import (
    MASK_KEYS,
    Item,
    MaskComposer,
    SyntheticDataset,
    build_lesion_bank,
    icdr_grade,
    load_datalist,
    write_json,
)
from monai_retina_gen.data.atomic_file import atomic_path, write_atomically
from monai_retina_gen.data.combine_masks import merge_masks
from monai_retina_gen.data.settings_file import begin_folder
from monai_retina_gen.evidence.study.config import PLACES
from monai_retina_gen.generators import RetinaGenerator, load_generator
from monai_retina_gen.generators.content_record import generator_record, items_sha256
from monai_retina_gen.metrics import verdict
from monai_retina_gen.transforms.expansion.folder import expand

from .config import SegmentationStudyConfig
from .figures import BASELINE, MEAN, analyse_curves
from .training import Pairs, TrainingPairs, judge_segmenter, load_pairs, train_segmenter

__all__ = ["run_segmentation_study"]

logger = logging.getLogger("monai_retina_gen.study")
RESULT, SUMMARY = "study.json", "summary.md"
SYNTHETIC = ("own-masks", "synthesize")


def run_segmentation_study(
    config: SegmentationStudyConfig, generator: RetinaGenerator | str | None = None
) -> dict[str, Any]:
    """Train segmenters in every arm for equally many steps, and compare their PR-AUC on photographs never seen.

    Stopped at any moment and called again with the same settings, it goes on with the trainings that have no result.

    Args:
        config: the settings.
        generator: with the mode `synthesize`: a bundle's name or folder, or an object; None for the other arms alone.

    Returns:
        What is written to `out/study.json`: settings, and by arm and lesion the PR-AUC over all pixels of the test
        photographs, the differences to `classic`, and a verdict in words.

    Raises:
        ValueError: an arm needs a generator, its images are smaller than the study's, or `out` was begun with other
            settings.
        DatalistError: no annotated photographs.
    """
    folder = Path(config.out)
    made_by = None if generator is None else load_generator(generator, device=config.device)
    _check_generator(config, made_by)
    datalist = load_datalist(config.datalist, config.dataset_dir)
    real, test = (load_pairs(datalist[section], config, section) for section in ("training", "test"))
    predicted = load_datalist(config.masks)["training"] if config.masks else []
    _check_settings(folder, config, made_by, {**datalist, "predicted": predicted})
    waiting = _waiting(folder, config)
    if waiting:
        banks = _banks(config, datalist["training"], predicted, made_by)
        for number, (arm, seed) in enumerate(waiting, 1):
            started = time.monotonic()
            _run(folder, arm, seed, TrainingPairs(real, banks.get(arm), config.share, arm != "none"), test, config)
            logger.info("run %d/%d %s seed %d: %.0f s", number, len(waiting), arm, seed, time.monotonic() - started)
    curves = {arm: np.stack([_read(folder, arm, seed) for seed in range(config.seeds)]) for arm in config.arms}
    result = {
        "settings": config.settings(),
        "n_training": len(real),
        "n_test": len(test),
        **analyse_curves(curves, test.groups, config.structures),
    }
    result["words"] = _words(result)
    write_json(result, folder / RESULT)
    write_atomically(folder / SUMMARY, _table(result, config))
    return result


def _check_generator(config: SegmentationStudyConfig, generator: RetinaGenerator | None) -> None:
    asked = [arm for arm in config.arms if arm in SYNTHETIC]
    if asked and generator is None:
        raise ValueError(f"arms {asked} need a generator (--generator), or leave them out (--arms none classic)")
    if asked and generator is not None:
        generator.check_mode("synthesize")
        if generator.image_size < config.image_size:
            raise ValueError(
                f"{generator.name} makes {generator.image_size} px and the study has {config.image_size} px: enlarged "
                "images would be told by their blur; use a smaller image_size"
            )


def _check_settings(
    folder: Path, config: SegmentationStudyConfig, generator: RetinaGenerator | None, items: Mapping[str, Any]
) -> None:
    keys = ("image", "group", "grade", *MASK_KEYS)
    settings = {
        **{name: value for name, value in config.settings().items() if name not in PLACES},
        "data_sha256": {name: items_sha256(items[name], keys) for name in ("training", "test", "predicted")},
        "generator": None if generator is None else generator_record(generator),
        "version": __version__,
    }
    begin_folder(folder, settings)


def _waiting(folder: Path, config: SegmentationStudyConfig) -> list[tuple[str, int]]:
    """Runs without a result, seed by seed, so that a study stopped early has every arm."""
    runs = [(arm, seed) for seed in range(config.seeds) for arm in config.arms]
    return [(arm, seed) for arm, seed in runs if not _path(folder, arm, seed).is_file()]


def _banks(
    config: SegmentationStudyConfig,
    training: Sequence[Item],
    predicted: Sequence[Item],
    generator: RetinaGenerator | None,
) -> dict[str, Pairs]:
    """Synthesized pairs of the arms that have them, made ahead."""
    if generator is None:
        return {}
    second = {item["image"]: item for item in predicted}
    merged = [merge_masks(item, second.get(item["image"])) for item in training]
    annotated = [item for item in merged if any(key in item for key in config.structures)]
    found = {}
    for arm in (arm for arm in config.arms if arm in SYNTHETIC):
        items, composer = merged, None
        if arm == "synthesize":
            composer = MaskComposer(build_lesion_bank(training, predicted=predicted, progress=True))
        else:
            items = [item for item in annotated if "grade" in item and icdr_grade(item) in config.grades]
        present = [g for g in config.grades if composer or any(icdr_grade(item) == g for item in items)]
        counts = dict.fromkeys(present, config.bank_size)
        folder = Path(config.out) / "pairs" / arm
        expand(generator, counts, folder, gate=None, masks=items, lesion_bank=composer, device=config.device)
        found[arm] = load_pairs(SyntheticDataset(folder).data, config, arm, synthesized=True)
    return found


def _path(folder: Path, arm: str, seed: int) -> Path:
    return folder / "runs" / f"{arm}--seed{seed}.npz"


def _run(folder: Path, arm: str, seed: int, data: TrainingPairs, test: Pairs, config: SegmentationStudyConfig) -> None:
    counts = judge_segmenter(train_segmenter(data, config, seed), test, config)
    path = _path(folder, arm, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez_compressed(file, counts=counts)


def _read(folder: Path, arm: str, seed: int) -> np.ndarray:
    with np.load(_path(folder, arm, seed), allow_pickle=False) as stored:
        return np.asarray(stored["counts"])


def _words(result: dict[str, Any]) -> str:
    if "synthesize" not in result["differences"]:
        return f"No comparison: it needs the arms {BASELINE!r} and 'synthesize'."
    cell, said = result["differences"]["synthesize"][MEAN], f"synthesize against {BASELINE}, mean PR-AUC of "
    said += f"{result['n_test']} test photographs: "
    said += f"{_cell(cell, '+')}: {verdict(cell['value'], cell['p'], cell['seeds'])}."
    return said if cell["p"] is None else f"{said} A difference of {cell['detectable']:.3f} would have been found."


def _table(result: dict[str, Any], config: SegmentationStudyConfig) -> str:
    names = [*config.structures, MEAN]
    rows = ["| arm | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for arm, cells in result["arms"].items():
        rows.append("| " + " | ".join([arm, *(_cell(cells[name]) for name in names)]) + " |")
    for arm, cells in result["differences"].items():
        rows.append("| " + " | ".join([f"{arm} - {BASELINE}", *(_cell(cells[n], "+") for n in names)]) + " |")
    return "\n".join([*rows, "", result["words"], ""])


def _cell(figure: dict[str, Any], sign: str = "") -> str:
    if figure["low"] is None:
        return "undefined" if figure["value"] is None else format(figure["value"], f"{sign}.3f")
    return f"{figure['value']:{sign}.3f} ({figure['low']:{sign}.3f} to {figure['high']:{sign}.3f})"
