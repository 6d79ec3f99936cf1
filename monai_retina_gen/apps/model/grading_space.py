"""`model grading-space`: mean and covariance of a grader's features per grade, the codes of DR-GAN's grades."""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.evidence.evaluation.extractor import load_extractor
from monai_retina_gen.evidence.evaluation.grading_space import STATE, fit_grading_space, store_grading_space
from monai_retina_gen.evidence.evaluation.image_sets import photographs, read_section


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--datalist idrid --dataset-dir IDRID --out space")
    parser.add_argument("--datalist", required=True, help="DATALIST[:SECTION] (training)")
    parser.shared("--dataset-dir", "--out")
    parser.add_argument("--extractor", default="fundus", help="fundus, pixels, inception, or a grader's bundle")
    parser.add_argument("--rank", type=int, default=0, help="directions besides the diagonal (default 0, as published)")
    parser.add_argument("--image-size", type=int, help="side of the photographs (default: that of the extractor)")
    parser.add_argument("--store", metavar="BUNDLE", help="put it into a bundle as well, and pin it")
    parser.shared("--device")


def run(args: argparse.Namespace) -> None:
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
