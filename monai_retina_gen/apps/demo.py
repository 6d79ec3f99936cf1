"""`demo`: lesions painted on healthy eyes, the gate's verdicts, and samples of every generator; nothing is trained."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.evidence.demo import NEXT, demo, print_table, train_demo


def add_options(parser: CommandParser) -> None:
    parser.describe(
        __doc__, "--images photographs/0\n  monai-retina-gen demo --train --datalist idrid --dataset-dir ~/idrid"
    )
    parser.add_argument("--out", required=False, default="retina_demo")
    parser.add_argument("--images", nargs="+", default=[], help="photographs of healthy eyes, or folders of them")
    parser.shared("--seed", "--device")
    group = parser.add_argument_group("train a small generator, and graders with and without its images, instead")
    group.add_argument("--train", action="store_true", help="do so")
    parser.add_argument("--datalist", group=group, help="datalist, data set name or folder (default: phantoms)")
    parser.add_argument("--dataset-dir", group=group)
    parser.add_argument("--image-size", group=group, type=int, default=64, help="side in pixels: 64, 128 or 256")
    parser.add_argument("--vae-epochs", group=group, type=int, default=25, help="epochs of the generator")
    parser.add_argument("--grader-epochs", group=group, type=int, default=12, help="epochs of each grader")
    parser.add_argument("--seeds", group=group, type=int, default=2, help="graders per arm")


def run(args: argparse.Namespace) -> None:
    started = time.monotonic()
    if args.train:
        options = chosen(
            args, "datalist", "dataset_dir", "image_size", "vae_epochs", "grader_epochs", "seeds", "device"
        )
        print_table(train_demo(args.out, **options))
    else:
        demo(args.out, images=args.images, seed=args.seed, device=args.device)
    written = Path(args.out) / ("report.html" if args.train else "demo.html")
    print(f"{written} ({time.monotonic() - started:.0f} s)")
    print("\n".join(("next, with your own photographs in folders named 0 to 4:", *(f"  {line}" for line in NEXT))))
