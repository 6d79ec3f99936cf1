"""`evaluate`: how far a generator's samples are from photographs that it has not seen, and how diverse they are."""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.engines.sharing import in_all_processes, is_first
from monai_retina_gen.evidence.evaluation.eval_metrics import headline, write_eval_metrics
from monai_retina_gen.evidence.evaluation.extractor import DEFAULT_EXTRACTOR, EXTRACTOR_HELP
from monai_retina_gen.evidence.evaluation.generator_evaluation import (
    METRICS_FILE,
    SMALLEST,
    evaluate,
)
from monai_retina_gen.evidence.evaluation.image_sets import read_section

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "evaluate",
        description="FID, KID, precision, recall, density, coverage, SWD, diversity and realism, with their floors.",
        epilog="example: python -m monai_retina_gen evaluate --generator retina_vae --datalist idrid.json --out eval",
    )
    parser.add_argument("--generator", required=True, help="bundle name or folder")
    parser.add_argument("--datalist", required=True, help="datalist, data set name or folder")
    parser.add_argument("--dataset-dir", help="folder of a named data set")
    parser.add_argument("--section", default="test", help="photographs to report (default test; choose on validation)")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--extractor", default=DEFAULT_EXTRACTOR, help=EXTRACTOR_HELP)
    parser.add_argument(
        "--per-grade", action="store_true", help=f"figures of each grade with {SMALLEST} images of each kind as well"
    )
    parser.add_argument("--count", type=int, help="samples (default: as many as photographs)")
    parser.add_argument("--pairs", type=int, default=200, help="pairs of each grade for diversity")
    parser.add_argument("--lpips", action="store_true", help="LPIPS diversity too; may download AlexNet's weights")
    parser.add_argument("--write-metadata", metavar="BUNDLE", help="write headline figures to its metadata")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.set_defaults(run=run)


@in_all_processes
def run(args: argparse.Namespace) -> int:
    """Evaluate and print the headline figures."""
    result = evaluate(
        args.generator,
        read_section(f"{args.datalist}:{args.section}", args.dataset_dir),
        args.out,
        extractor=args.extractor,
        split=args.section,
        per_grade=args.per_grade,
        count=args.count,
        seed=args.seed,
        pairs=args.pairs,
        lpips=args.lpips,
        device=args.device,
    )
    for name, value in headline(result).items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    if args.write_metadata and is_first():
        print(f"wrote {write_eval_metrics(result, args.write_metadata)}")
    print(f"wrote {Path(args.out) / METRICS_FILE}")
    return 0
