"""`cross-fit`: train one grader a fold and put them together as the judges of gate, label check and curation.

Each grader ends with its last epoch: one that was chosen on the fold that is held out would flatter the predictions
that the gate's limits come from.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_retina_gen.data import Datalist, load_datalist, write_json
from monai_retina_gen.data.settings_file import begin_folder, check_writable
from monai_retina_gen.engines import expected_calibration_error, fit_temperature, fold_datalist, fold_of_group
from monai_retina_gen.evidence.evaluation.image_sets import photographs
from monai_retina_gen.generators.content_record import files_sha256, items_sha256
from monai_retina_gen.metrics import accuracy_from_confusion, bootstrap_interval, kappa_from_confusion
from monai_retina_gen.weights import (
    find_bundle,
    load_state,
    read_metadata,
    save_parts,
    save_state,
    sha256_file,
)
from monai_retina_gen.zoo.pinning import pin

__all__ = ["add_parser", "cross_fit", "out_of_fold_figures", "run", "train_fold"]

logger = logging.getLogger(__name__)
CONFIGS = ("train", "cross_fit")
CONFIG, WEIGHTS, FINAL, REPORT = "cross_fitted", "models/cross_fitted.pt", "final.pt", "cross_fit.json"


def cross_fit(
    bundle: str | Path,
    datalist: str,
    out: str | Path,
    *,
    dataset_dir: str | None = None,
    folds: int = 5,
    overrides: Mapping[str, Any] | None = None,
    install: bool = False,
) -> dict[str, Any]:
    """Train the graders of all folds, calibrate them on out-of-fold predictions, and put them into a bundle.

    Stopped, it goes on with the epoch that it had reached.

    Args:
        bundle: name or folder of a grader's bundle with `configs/cross_fit.json`.
        datalist: as the bundle's `datalist`; training and validation are dealt out to folds, the test stays out.
        out: folder for the runs, for `cross_fit.json`, and for a bundle of the graders: `OUT/NAME:cross_fitted`,
            NAME that of `bundle`, is what `gate`, `label-check` and `curate` take.
        dataset_dir: folder of a named data set.
        folds: how many.
        overrides: further keys of the bundle's `train.json`, as `max_epochs`.
        install: put them into the bundle itself, in place of those that it has.

    Returns:
        What `cross_fit.json` holds: figures of the out-of-fold predictions.

    Raises:
        ValueError: if `out` was begun with other photographs, folds or settings; names what differs.
        PermissionError: if nothing can be written into `out` or the bundle; before anything is trained.
    """
    folder, settings = find_bundle(bundle), {"datalist": datalist, "dataset_dir": dataset_dir, **(overrides or {})}
    whole = load_datalist(datalist, dataset_dir, require_grade=True)
    home = folder if install else Path(out) / folder.name
    for part in ("models", "configs"):
        check_writable(home / part)
    begin_folder(out, _record(folder, whole, folds, overrides or {}))
    outcomes = [_fold_outcome(folder, Path(out), whole, fold, folds, settings) for fold in range(folds)]
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


def _save_graders(home: Path, states: Sequence[Mapping[str, Tensor]]) -> str | list[str]:
    """Write the weights of all folds, in several files where one would be too large; what lay there before goes."""
    for old in (home / WEIGHTS).parent.glob(f"{Path(WEIGHTS).stem}*.pt"):
        old.unlink()
    joined = {f"graders.{i}.{name}": value for i, state in enumerate(states) for name, value in state.items()}
    files = [path.relative_to(home).as_posix() for path in save_parts(joined, home / WEIGHTS, half=True)]
    return files[0] if len(files) == 1 else files


def train_fold(bundle: Path, out: Path, fold: int, folds: int, settings: Mapping[str, Any]) -> Any:
    """Run the bundle's training for one fold, or go on with it; returns the workflow with the trained network."""
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / f"{name}.json") for name in CONFIGS],
        workflow_type="train",
        logging_file=False,  # the command line has its own
        bundle_root=str(bundle),
        output_dir=str(out),
        fold=fold,
        folds=folds,
        resume=bool(list(out.glob("state_*.pt"))),
        **settings,
    )
    workflow.initialize()
    if not (out / FINAL).is_file():
        workflow.run()
        save_state(workflow.parser.get_parsed_content("averaged_network").state_dict(), out / FINAL)
        workflow.finalize()
    return workflow


def _fold_outcome(
    bundle: Path, out: Path, whole: Datalist, fold: int, folds: int, settings: Mapping[str, Any]
) -> tuple[Tensor, Tensor, dict[str, Any], int]:
    """Out-of-fold logits and labels, the network's definition and its image size."""
    logger.info("fold %d of %d", fold + 1, folds)
    parser = train_fold(bundle, out / f"fold{fold}", fold, folds, settings).parser
    network: nn.Module = parser.get_parsed_content("averaged_network")
    # as shipped: half precision; the network of the last epoch, also where this fold was trained in an earlier run
    state = load_state(out / f"fold{fold}" / FINAL)
    network.load_state_dict({k: v.half().to(v) if v.is_floating_point() else v for k, v in state.items()})
    size, device = int(parser.get_parsed_content("image_size")), parser.get_parsed_content("device")
    held_out = photographs(fold_datalist(whole, fold, folds)["validation"], size, f"fold {fold}")
    network.eval()
    with torch.no_grad():
        starts = range(0, len(held_out), 32)
        logits = torch.cat([network(held_out.floats(slice(i, i + 32)).to(device)).float().cpu() for i in starts])
    definition = {key: parser.get_parsed_content(f"network_def::{key}") for key in parser.get("network_def")}
    return logits, torch.tensor(held_out.grades), definition, size


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


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "cross-fit",
        description="One small grader a fold, calibrated out of fold. Stopped, it goes on where it was.",
        epilog="example: python -m monai_retina_gen cross-fit --datalist idrid --dataset-dir IDRID --out folds",
    )
    parser.add_argument("--bundle", default="retina_grader", help="bundle whose training is run")
    parser.add_argument("--datalist", required=True, help="datalist, data set name or folder; its test stays out")
    parser.add_argument("--dataset-dir", help="folder of a named data set")
    parser.add_argument("--out", required=True, help="folder of the runs")
    parser.add_argument("--folds", type=int, default=5, help="graders, each trained on the other folds")
    parser.add_argument("--max-epochs", type=int, help="epochs a fold (default: configs/cross_fit.json)")
    parser.add_argument("--init-weights", help="weights that every fold starts from; they must know no photograph")
    parser.add_argument(
        "--install", action="store_true", help="put the graders into the bundle itself, in place of those that it has"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, install and print the out-of-fold figures."""
    chosen = {"max_epochs": args.max_epochs, "init_weights": args.init_weights}
    overrides = {key: value for key, value in chosen.items() if value is not None}
    figures = cross_fit(
        args.bundle,
        args.datalist,
        args.out,
        dataset_dir=args.dataset_dir,
        folds=args.folds,
        overrides=overrides,
        install=args.install,
    )
    graders = args.bundle if args.install else str(Path(args.out) / find_bundle(args.bundle).name)
    kappa, error = figures["kappa"], figures["calibration_error"]
    print(
        f"out of fold, n = {figures['n']}: kappa {kappa['value']:.2f} [{kappa['low']:.2f}, {kappa['high']:.2f}], "
        f"calibration error {error[0]:.3f}, with temperature {figures['temperature']:.2f} {error[1]:.3f}; run "
        f"`python -m monai_retina_gen gate --graders {graders}:{CONFIG}` for the gate's limits"
    )
    return 0
