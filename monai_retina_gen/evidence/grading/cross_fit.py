"""Train one grader a fold and put them together as the judges of gate, label check and curation.

Each grader ends with its last epoch: one that was chosen on the fold that is held out would flatter the predictions
that the gate's limits come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.data import Datalist, load_datalist, write_json
from monai_retina_gen.data.files import SETTINGS, begin_folder, check_writable
from monai_retina_gen.engines import expected_calibration_error, fit_temperature, fold_of_group
from monai_retina_gen.evidence.grading.trainings import CONFIGS, FINAL, fold_outcome
from monai_retina_gen.generators.content_record import files_sha256, items_sha256
from monai_retina_gen.metrics import accuracy_from_confusion, bootstrap_interval, kappa_from_confusion
from monai_retina_gen.weights import find_bundle, load_state, read_metadata, save_parts, sha256_file
from monai_retina_gen.zoo.packing import pin

__all__ = ["cross_fit", "out_of_fold_figures"]

CONFIG, WEIGHTS, REPORT = "cross_fitted", "models/cross_fitted.pt", "cross_fit.json"


def cross_fit(
    bundle: str | Path,
    datalist: str,
    out: str | Path,
    *,
    dataset_dir: str | None = None,
    folds: int = 5,
    overrides: Mapping[str, Any] | None = None,
    start: str | Path | None = None,
    install: bool = False,
) -> dict[str, Any]:
    """Train the graders of all folds, calibrate them on out-of-fold predictions, and put them into a bundle.

    Stopped, it goes on with the epoch that it had reached.

    Args:
        bundle: name or folder of a grader's bundle with `configs/cross_fit.json`.
        datalist: as the bundle's `datalist`; training and validation are dealt out to folds, the test stays out.
        out: folder for the runs, for `cross_fit.json`, and for a bundle of the graders: `OUT/NAME:cross_fitted`,
            NAME that of `bundle`, is what `gate`, `evaluate --labels` and `curate` take.
        dataset_dir: folder of a named data set.
        folds: how many.
        overrides: further keys of the bundle's `train.json`, as `max_epochs`, or `degraded` for graders that also judge
            small and blurred images.
        start: folder of an earlier `cross_fit` with the same photographs and folds: each grader goes on from the
            weights of its fold.
        install: put them into the bundle itself, in place of those that it has.

    Returns:
        What `cross_fit.json` holds: figures of the out-of-fold predictions.

    Raises:
        ValueError: if `out` was begun with other photographs, folds or settings; names what differs. If the graders of
            `start` had other photographs or folds, and so may know those that they are to judge.
        PermissionError: if nothing can be written into `out` or the bundle; before anything is trained.
    """
    folder, settings = find_bundle(bundle), {"datalist": datalist, "dataset_dir": dataset_dir, **(overrides or {})}
    whole = load_datalist(datalist, dataset_dir, require_grade=True)
    home = folder if install else Path(out) / folder.name
    for part in ("models", "configs"):
        check_writable(home / part)
    record = _record(folder, whole, folds, overrides or {})
    begins: list[dict[str, Any]] = [{}] * folds if start is None else _begins(Path(start), record)
    begin_folder(
        out, record if start is None else {**record, "start": [sha256_file(x["init_weights"]) for x in begins]}
    )
    outcomes = [
        fold_outcome(folder, Path(out), whole, fold, folds, {**settings, **begins[fold]}) for fold in range(folds)
    ]
    logits, target = torch.cat([outcome[0] for outcome in outcomes]), torch.cat([outcome[1] for outcome in outcomes])
    temperature = fit_temperature(logits, target)
    figures = out_of_fold_figures(logits, target, temperature)
    groups = fold_of_group([*whole["training"], *whole["validation"]], folds)
    definition = {
        "_target_": "monai_retina_gen.networks.CrossFittedGraders",
        "graders": [outcome[2] for outcome in outcomes],
        "folds": groups,
        "temperature": temperature,
    }
    states = [load_state(Path(out) / f"fold{fold}" / FINAL) for fold in range(folds)]
    if not install:
        write_json({**read_metadata(folder), "weights": {}}, home / "configs" / "metadata.json", sort_keys=False)
    named = _save_graders(home, states)
    config = {"weights_file": named, "image_size": outcomes[0][3], "network_def": definition, "out_of_fold": figures}
    write_json(config, home / "configs" / f"{CONFIG}.json", sort_keys=False)
    pin(home, config_name=CONFIG)
    write_json(figures, Path(out) / REPORT)
    return figures


def _record(bundle: Path, whole: Datalist, folds: int, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What the graders depend on."""
    keys = ("image", "grade", "group")
    return {
        "data_sha256": {section: items_sha256(whole[section], keys) for section in ("training", "validation")},
        "folds": folds,
        "overrides": dict(overrides),
        "configs": {name: sha256_file(bundle / "configs" / f"{name}.json") for name in CONFIGS},
        "files": files_sha256(overrides),
    }


def _begins(start: Path, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each fold starts from."""
    settings = start / SETTINGS
    there = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    if any(there.get(key) != record[key] for key in ("data_sha256", "folds")):
        raise ValueError(
            f"start={start}: want the folder of a cross-fit with these photographs and {record['folds']} folds; "
            "graders of others may know the photographs that they are to judge"
        )
    files = [start / f"fold{fold}" / FINAL for fold in range(record["folds"])]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise ValueError(f"start={start}: {', '.join(missing)} is missing; let that `model cross-fit` end first")
    return [{"init_weights": str(file)} for file in files]


def _save_graders(home: Path, states: Sequence[Mapping[str, Tensor]]) -> str | list[str]:
    """Write the weights of all folds, in several files where one would be too large; what lay there before goes."""
    for old in (home / WEIGHTS).parent.glob(f"{Path(WEIGHTS).stem}*.pt"):
        old.unlink()
    joined = {f"graders.{i}.{name}": value for i, state in enumerate(states) for name, value in state.items()}
    files = [path.relative_to(home).as_posix() for path in save_parts(joined, home / WEIGHTS, half=True)]
    return files[0] if len(files) == 1 else files


def out_of_fold_figures(logits: Tensor, target: Tensor, temperature: float) -> dict[str, Any]:
    """Kappa, accuracy, cross-entropy and calibration error, before and after the temperature.

    Examples:
        >>> out_of_fold_figures(4 * torch.eye(5).repeat(4, 1), torch.arange(5).repeat(4), 1.0)["kappa"]["value"]
        1.0
    """
    entropy = nn.functional.cross_entropy
    return {
        "n": len(target),
        "kappa": bootstrap_interval(logits.argmax(1), target, kappa_from_confusion).as_dict(),
        "accuracy": bootstrap_interval(logits.argmax(1), target, accuracy_from_confusion).as_dict(),
        "temperature": temperature,
        "cross_entropy": [float(entropy(logits, target)), float(entropy(logits / temperature, target))],
        "calibration_error": [expected_calibration_error(logits, target, t) for t in (1.0, temperature)],
    }
