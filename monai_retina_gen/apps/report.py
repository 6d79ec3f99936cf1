"""`report`: one self-contained HTML page from what the other commands wrote."""

from __future__ import annotations

import argparse

from monai_retina_gen.evidence.evaluation.image_sets import read_section
from monai_retina_gen.evidence.report.report_page import SECTIONS, report, sample_rows
from monai_retina_gen.generators import load_generator

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "report",
        description="Puts any of evaluation, audit, label check, study, reader study and training log on one page.",
        epilog="example: python -m monai_retina_gen report --evaluation eval/metrics.json --audit audit/audit.json "
        "--out report.html",
    )
    parser.add_argument("--evaluation", metavar="JSON", help="metrics.json of `evaluate`")
    parser.add_argument("--audit", metavar="JSON", help="audit.json of `audit`")
    parser.add_argument("--label-check", metavar="JSON", help="label_check.json of `label-check`")
    parser.add_argument("--study", metavar="JSON", help="study.json of `study`, in its folder")
    parser.add_argument("--readers", metavar="JSON", help="score.json of `reader-study --score`")
    parser.add_argument("--training", metavar="LOG", help="TensorBoard folder or file, or a CSV log")
    parser.add_argument("--generator", help="bundle whose samples are shown by grade; needs --datalist")
    parser.add_argument("--datalist", help="DATALIST[:SECTION] with the photographs beside them (section: validation)")
    parser.add_argument("--dataset-dir", help="folder of a named data set")
    parser.add_argument("--out", required=True, help="HTML file to write")
    parser.add_argument("--title", default="Generated retinal photographs: the evidence", help="title of the page")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    if bool(args.generator) != bool(args.datalist):
        raise ValueError("--generator and --datalist go together: samples are shown beside photographs")
    samples = _samples(args) if args.generator else None
    parts = {name: getattr(args, name) for name in SECTIONS if getattr(args, name)}
    print(f"wrote {report(parts, out=args.out, training=args.training, samples=samples, title=args.title)}")
    return 0


def _samples(args: argparse.Namespace) -> bytes:
    return sample_rows(load_generator(args.generator), read_section(args.datalist, args.dataset_dir), seed=args.seed)
