"""`model search-grader`: cross-validate settings of a grader's training side by side, and train the best of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.evidence.grading.grader_search import REPORT, WEIGHTS, GraderSearch


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--datalist idrid --dataset-dir IDRID --out search --workers 6 --minutes 30")
    parser.add_argument("--bundle", default="retina_grader", help="bundle whose train.json is run")
    parser.add_argument("--datalist", required=True, help="datalist, data set name or folder; its test stays out")
    parser.shared("--dataset-dir", "--out")
    parser.add_argument("--settings", help="JSON file like the bundle's configs/search.json (default)")
    parser.add_argument("--folds", type=int, default=5, help="folds of every setting")
    parser.add_argument("--seeds", type=int, default=3, help="final trainings with the best setting")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side")
    parser.add_argument("--minutes", type=float, default=60.0 * 24, help="time limit")


def run(args: argparse.Namespace) -> None:
    settings = json.loads(Path(args.settings).read_text(encoding="utf-8"))["settings"] if args.settings else None
    options = chosen(args, "dataset_dir", "folds", "seeds", "workers", "minutes")
    report = GraderSearch(args.bundle, args.datalist, args.out, settings=settings, **options).run()
    for name, figures in report["out_of_fold"].items():
        print(f"{name}: kappa {figures['kappa']:.3f}, accuracy {figures['accuracy']:.3f}, n = {figures['n']}")
    print(f"best: {report['best']}; wrote {Path(args.out) / REPORT} and the weights {WEIGHTS}")
