"""`model cross-fit`: train one grader a fold; together they judge for the gate, evaluation and curation."""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.evidence.grading.cross_fit import CONFIG, cross_fit
from monai_retina_gen.weights import find_bundle

__all__ = ["add_options", "run"]

OVERRIDES = ("max_epochs", "init_weights", "learning_rate", "degraded", "frozen_stages")


def add_options(parser: CommandParser) -> None:
    """Describe the command."""
    parser.describe(
        "One small grader a fold, calibrated out of fold. Stopped, it goes on where it was.",
        "model cross-fit --datalist idrid --dataset-dir IDRID --out folds",
    )
    parser.add_argument("--bundle", default="retina_grader", help="bundle whose training is run")
    parser.add_argument("--datalist", required=True, help="datalist, data set name or folder; its test stays out")
    parser.shared("--dataset-dir", "--out")
    parser.add_argument("--folds", type=int, default=5, help="graders, each trained on the other folds")
    parser.add_argument("--max-epochs", type=int, help="epochs a fold (default: configs/cross_fit.json)")
    parser.add_argument("--init-weights", help="weights that every fold starts from; they must know no photograph")
    parser.add_argument("--start", help="folder of an earlier cross-fit; each grader goes on from its fold's weights")
    parser.add_argument("--learning-rate", type=float, help="largest one (default: the bundle's train.json)")
    parser.add_argument("--degraded", type=float, help="share of photographs shown blurred, noisy and small")
    parser.add_argument("--frozen-stages", type=int, help="first stages of the backbone that training leaves alone")
    parser.add_argument(
        "--install", action="store_true", help="put the graders into the bundle itself, in place of those that it has"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train, install and print the out-of-fold figures."""
    figures = cross_fit(
        args.bundle,
        args.datalist,
        args.out,
        dataset_dir=args.dataset_dir,
        folds=args.folds,
        overrides={name: value for name in OVERRIDES if (value := getattr(args, name)) is not None},
        start=args.start,
        install=args.install,
    )
    graders = args.bundle if args.install else str(Path(args.out) / find_bundle(args.bundle).name)
    kappa, error = figures["kappa"], figures["calibration_error"]
    print(
        f"out of fold, n = {figures['n']}: kappa {kappa['value']:.2f} [{kappa['low']:.2f}, {kappa['high']:.2f}], "
        f"calibration error {error[0]:.3f}, with temperature {figures['temperature']:.2f} {error[1]:.3f}; run "
        f"`monai-retina-gen model gate --graders {graders}:{CONFIG}` for the gate's limits"
    )
