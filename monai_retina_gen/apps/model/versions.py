"""`model versions`: erase the lesions of photographs and paint one kind at a time, for training a StyleGAN3."""

from __future__ import annotations

import argparse
from typing import Any

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.evidence.edits.painted_versions import paint_versions
from monai_retina_gen.evidence.evaluation.image_sets import read_section
from monai_retina_gen.generators import load_generator


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--datalist idrid:training --dataset-dir IDRID --out versions")
    parser.add_argument("--datalist", required=True, help="DATALIST[:SECTION] (training)")
    parser.shared("--dataset-dir", "--out")
    parser.add_argument("--generator", default="retina_lesion_painter")
    parser.add_argument("--lesions", help="of ma, he, ex, se", default=["he", "ex", "se"])
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.shared("--seed", "--device")


def run(args: argparse.Namespace) -> None:
    items = read_section(args.datalist, args.dataset_dir, default="training")
    generator: Any = load_generator(args.generator, device=args.device)
    options = chosen(args, "lesions", "batch_size", "seed")
    print(paint_versions(items, generator, args.out, size=args.image_size, **options))
