"""Train one grader a fold and put them together as the judges of gate, label check and curation.

Each ends with its last epoch: one chosen on the fold that is held out would flatter the gate's limits.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from torch import Tensor, nn

from monai_retina_gen.data import Datalist, load_datalist, write_json
from monai_retina_gen.data.files import SETTINGS, begin_folder, check_writable
from monai_retina_gen.engines import expected_calibration_error, fit_temperature, fold_datalist, fold_of_group
from monai_retina_gen.evidence.evaluation.image_sets import photographs
from monai_retina_gen.generators.content_record import files_sha256, items_sha256
from monai_retina_gen.metrics import accuracy_from_confusion, bootstrap_interval, kappa_from_confusion
from monai_retina_gen.weights import find_bundle, load_state, read_metadata, save_parts, save_state, sha256_file
from monai_retina_gen.zoo.packing import pin

logger = logging.getLogger(__name__)
CONFIGS, FINAL = ("train", "cross_fit"), "final.pt"
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

    Training and validation are dealt out to `folds`, the test stays out; stopped, it goes on with the epoch that it had
    reached. `bundle` is a grader's with `configs/cross_fit.json`, `overrides` are further keys of its `train.json`, and
    `start` is the folder of an earlier cross-fit with these photographs and folds, whose weights the graders start
    from.

    The graders are put into the bundle itself (`install`) or into one of their own: `OUT/NAME:cross_fitted`. Returns
    what `cross_fit.json` holds: figures of the out-of-fold predictions.

    Raises:
        ValueError: if `out` was begun with other settings, or the graders of `start` may know those that they judge.
        PermissionError: if `out` or the bundle cannot be written; before anything is trained.
    """
    folder, settings = find_bundle(bundle), {"datalist": datalist, "dataset_dir": dataset_dir, **(overrides or {})}
    whole = load_datalist(datalist, dataset_dir, require_grade=True)
    home = folder if install else Path(out) / folder.name
    for part in ("models", "configs"):
        check_writable(home / part)
    record = _record(folder, whole, folds, overrides or {})
    begins: list[dict[str, Any]] = [{}] * folds if start is None else _begins(Path(start), record)
    started = {} if start is None else {"start": [sha256_file(begin["init_weights"]) for begin in begins]}
    begin_folder(out, record | started)
    each = [{**settings, **begin} for begin in begins]
    outcomes = [fold_outcome(folder, Path(out), whole, fold, folds, own) for fold, own in enumerate(each)]
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
    """Kappa, accuracy, cross-entropy and calibration error, before and after the temperature."""
    entropy = nn.functional.cross_entropy
    return {
        "n": len(target),
        "kappa": bootstrap_interval(logits.argmax(1), target, kappa_from_confusion).as_dict(),
        "accuracy": bootstrap_interval(logits.argmax(1), target, accuracy_from_confusion).as_dict(),
        "temperature": temperature,
        "cross_entropy": [float(entropy(logits, target)), float(entropy(logits / temperature, target))],
        "calibration_error": [expected_calibration_error(logits, target, t) for t in (1.0, temperature)],
    }


def bundle_workflow(bundle: str | Path, out: Path, configs: Sequence[str], **settings: Any) -> Any:
    """A training of a bundle by its configurations, with other settings."""
    return ConfigWorkflow(
        config_file=[str(Path(bundle) / "configs" / f"{name}.json") for name in configs],
        workflow_type="train",
        logging_file=False,  # the command line has its own
        bundle_root=str(bundle),
        output_dir=str(out),
        **settings,
    )


@torch.no_grad()
def shipped_logits(network: nn.Module, state: Mapping[str, Tensor], batches: Iterable[Tensor], device: Any) -> Tensor:
    """Logits, in float32, of the network with these weights as they are shipped: in half precision."""
    network.load_state_dict({k: v.half().to(v) if v.is_floating_point() else v for k, v in state.items()})
    network.eval()
    return torch.cat([network(batch.to(device)).float().cpu() for batch in batches])


def train_fold(bundle: Path, out: Path, fold: int, folds: int, settings: Mapping[str, Any]) -> Any:
    """Run the bundle's training for one fold of cross-fitting, or go on with it; returns the workflow."""
    resume = bool(list(out.glob("state_*.pt")))
    workflow = bundle_workflow(bundle, out, CONFIGS, fold=fold, folds=folds, resume=resume, **settings)
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
    logits = shipped_logits(parser.get_parsed_content("averaged_network"), state, batches, device)
    definition = {key: parser.get_parsed_content(f"network_def::{key}") for key in parser.get("network_def")}
    return logits, torch.tensor(held_out.grades), definition, size
