"""`model cross-fit`: train one grader a fold, calibrated out of fold. Stopped, it goes on where it was."""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.evidence.grading.cross_fit import CONFIG, cross_fit
from monai_retina_gen.evidence.report.html import interval_text
from monai_retina_gen.weights import find_bundle

OVERRIDES = ("max_epochs", "init_weights", "learning_rate", "degraded", "frozen_stages")


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--datalist idrid --dataset-dir IDRID --out folds")
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
    parser.add_argument("--install", action="store_true", help="put the graders into the bundle itself")


def run(args: argparse.Namespace) -> None:
    figures = cross_fit(
        args.bundle,
        args.datalist,
        args.out,
        overrides={name: value for name, value in chosen(args, *OVERRIDES).items() if value is not None},
        **chosen(args, "dataset_dir", "folds", "start", "install"),
    )
    graders = args.bundle if args.install else str(Path(args.out) / find_bundle(args.bundle).name)
    error = figures["calibration_error"]
    print(
        f"out of fold, n = {figures['n']}: kappa {interval_text(figures['kappa'])}, "
        f"calibration error {error[0]:.3f}, with temperature {figures['temperature']:.2f} {error[1]:.3f}; run "
        f"`monai-retina-gen model gate --graders {graders}:{CONFIG}` for the gate's limits"
    )
