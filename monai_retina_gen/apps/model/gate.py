"""`model gate`: set the label gate's limits for a rate of false rejections, and measure what it detects."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS, DEFAULT_SEGMENTER
from monai_retina_gen.evidence.grading.gate_calibration import REPORT, calibrate_gate


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--datalist idrid --dataset-dir IDRID --out gate")
    parser.add_argument("--datalist", required=True, help="the one that `model cross-fit` was run on")
    parser.shared("--dataset-dir", "--out")
    parser.add_argument("--graders", nargs=None, default=DEFAULT_GRADERS, help="BUNDLE:CONFIG; gets the limits")
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER, help="BUNDLE or BUNDLE:CONFIG, or none")
    parser.add_argument("--false-rejection", type=float, default=0.1, help="share that may be refused")
    parser.add_argument("--image-size", type=int, default=512, help="side at which edits are judged")
    parser.add_argument("--edits", type=int, default=100, help="changes of each kind that are made")
    parser.shared("--device")


def run(args: argparse.Namespace) -> None:
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
