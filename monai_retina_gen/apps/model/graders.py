"""`model cross-fit`, `search-grader`, `gate`, `grading-space`: graders, the label gate, and codes of grades."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS, DEFAULT_SEGMENTER
from monai_retina_gen.evidence.evaluation.extractor import load_extractor
from monai_retina_gen.evidence.evaluation.grading_space import STATE, fit_grading_space, store_grading_space
from monai_retina_gen.evidence.evaluation.image_sets import photographs, read_section
from monai_retina_gen.evidence.grading.cross_fit import CONFIG, cross_fit
from monai_retina_gen.evidence.grading.gate_calibration import REPORT, calibrate_gate
from monai_retina_gen.evidence.grading.grader_search import REPORT as SEARCH_REPORT
from monai_retina_gen.evidence.grading.grader_search import WEIGHTS, GraderSearch
from monai_retina_gen.evidence.report.html import interval_text
from monai_retina_gen.weights import find_bundle

OVERRIDES = ("max_epochs", "init_weights", "learning_rate", "degraded", "frozen_stages")


def _add_training(parser: CommandParser, example: str, description: str | None) -> None:
    parser.describe(description, example)
    parser.add_argument("--bundle", default="retina_grader", help="bundle whose train.json is run")
    parser.datalist("datalist, data set name or folder; its test stays out")
    parser.shared("--out")


def add_cross_fit(parser: CommandParser) -> None:
    _add_training(parser, "--datalist idrid --dataset-dir IDRID --out folds", run_cross_fit.__doc__)
    parser.add_argument("--folds", type=int, default=5, help="graders, each trained on the other folds")
    parser.add_argument("--max-epochs", type=int, help="epochs a fold (default: configs/cross_fit.json)")
    parser.add_argument("--init-weights", help="weights that every fold starts from; they must know no photograph")
    parser.add_argument("--start", help="folder of an earlier cross-fit; each grader goes on from its fold's weights")
    parser.add_argument("--learning-rate", type=float, help="largest one (default: the bundle's train.json)")
    parser.add_argument("--degraded", type=float, help="share of photographs shown blurred, noisy and small")
    parser.add_argument("--frozen-stages", type=int, help="first stages of the backbone that training leaves alone")
    parser.add_argument("--install", action="store_true", help="put the graders into the bundle itself")


def run_cross_fit(args: argparse.Namespace) -> None:
    """Train one grader a fold, calibrated out of fold. Stopped, it goes on where it was."""
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


def add_search_grader(parser: CommandParser) -> None:
    example = "--datalist idrid --dataset-dir IDRID --out search --workers 6 --minutes 30"
    _add_training(parser, example, run_search_grader.__doc__)
    parser.add_argument("--settings", help="JSON file like the bundle's configs/search.json (default)")
    parser.add_argument("--folds", type=int, default=5, help="folds of every setting")
    parser.add_argument("--seeds", type=int, default=3, help="final trainings with the best setting")
    parser.add_argument("--workers", type=int, default=1, help="trainings side by side")
    parser.add_argument("--minutes", type=float, default=60.0 * 24, help="time limit")


def run_search_grader(args: argparse.Namespace) -> None:
    """Cross-validate settings of a grader's training side by side, and train the best of them."""
    settings = json.loads(Path(args.settings).read_text(encoding="utf-8"))["settings"] if args.settings else None
    options = chosen(args, "dataset_dir", "folds", "seeds", "workers", "minutes")
    report = GraderSearch(args.bundle, args.datalist, args.out, settings=settings, **options).run()
    for name, figures in report["out_of_fold"].items():
        print(f"{name}: kappa {figures['kappa']:.3f}, accuracy {figures['accuracy']:.3f}, n = {figures['n']}")
    print(f"best: {report['best']}; wrote {Path(args.out) / SEARCH_REPORT} and the weights {WEIGHTS}")


def add_gate(parser: CommandParser) -> None:
    parser.describe(run_gate.__doc__, "--datalist idrid --dataset-dir IDRID --out gate")
    parser.datalist("the one that `model cross-fit` was run on")
    parser.shared("--out")
    parser.add_argument("--graders", nargs=None, default=DEFAULT_GRADERS, help="BUNDLE:CONFIG; gets the limits")
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER, help="BUNDLE or BUNDLE:CONFIG, or none")
    parser.add_argument("--false-rejection", type=float, default=0.1, help="share that may be refused")
    parser.add_argument("--image-size", type=int, default=512, help="side at which edits are judged")
    parser.add_argument("--edits", type=int, default=100, help="changes of each kind that are made")
    parser.shared("--device")


def run_gate(args: argparse.Namespace) -> None:
    """Set the label gate's limits for a rate of false rejections, and measure what it detects."""
    report = calibrate_gate(
        args.datalist,
        args.out,
        segmenter=None if args.segmenter == "none" else args.segmenter,
        rate=args.false_rejection,
        **chosen(args, "dataset_dir", "graders", "image_size", "edits", "device"),
    )
    print(json.dumps(report["limits"]))
    for section in ("out_of_fold", "test"):
        for kind in ("false_rejection", "detection"):
            for name, share in report.get(section, {}).get(kind, {}).items():
                if share["n"]:
                    interval = f"[{share['low']:.2f}, {share['high']:.2f}]"
                    print(f"{section} | {kind} | {name} | n = {share['n']} | {share['rate']:.2f} {interval}")
    print(f"wrote {Path(args.out) / REPORT}; limits are in {args.graders}")


def add_grading_space(parser: CommandParser) -> None:
    parser.describe(run_grading_space.__doc__, "--datalist idrid --dataset-dir IDRID --out space")
    parser.datalist("DATALIST[:SECTION] (training)")
    parser.shared("--out")
    parser.add_argument("--extractor", default="fundus", help="fundus, pixels, inception, or a grader's bundle")
    parser.add_argument("--rank", type=int, default=0, help="directions besides the diagonal (default 0, as published)")
    parser.add_argument("--image-size", type=int, help="side of the photographs (default: that of the extractor)")
    parser.add_argument("--store", metavar="BUNDLE", help="put it into a bundle as well, and pin it")
    parser.shared("--device")


def run_grading_space(args: argparse.Namespace) -> None:
    """Fit mean and covariance of a grader's features per grade, the codes of DR-GAN's grades."""
    extractor = load_extractor(args.extractor, device=args.device)
    size = args.image_size or extractor.input_size
    if not size:
        raise ValueError(f"--image-size is needed: the extractor {args.extractor!r} takes images of any size")
    images = photographs(read_section(args.datalist, args.dataset_dir, default="training"), size, "training")
    classes = max(5, max(images.grades) + 1)
    space = fit_grading_space(images, extractor, args.out, num_classes=classes, rank=args.rank)
    if args.store:
        store_grading_space(space, extractor, args.store)
    counts = dict(enumerate(space.count.tolist()))
    print(f"{Path(args.out) / STATE}: {space.dimension} features, photographs by grade {counts}")
