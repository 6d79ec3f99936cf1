"""`model versions`: paint versions of photographs with other lesions, for training a StyleGAN3."""

from __future__ import annotations

import argparse
from typing import Any

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.evidence.edits.painted_versions import paint_versions
from monai_retina_gen.evidence.evaluation.image_sets import read_section
from monai_retina_gen.generators import load_generator

__all__ = ["add_options", "run"]


def add_options(parser: CommandParser) -> None:
    """Describe the command."""
    parser.describe(
        "Erases the lesions of photographs, and paints one kind at a time; writes images and versions.json.",
        "model versions --datalist idrid:training --dataset-dir IDRID --out versions",
    )
    parser.add_argument("--datalist", required=True, help="DATALIST[:SECTION] (training)")
    parser.shared("--dataset-dir", "--out")
    parser.add_argument("--generator", default="retina_lesion_painter")
    parser.add_argument("--lesions", help="of ma, he, ex, se", default=["he", "ex", "se"])
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.shared("--seed", "--device")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Paint and say where the list lies."""
    items = read_section(args.datalist, args.dataset_dir, default="training")
    generator: Any = load_generator(args.generator, device=args.device)
    options = {"size": args.image_size, "lesions": args.lesions, "batch_size": args.batch_size, "seed": args.seed}
    print(paint_versions(items, generator, args.out, **options))
