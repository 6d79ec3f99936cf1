"""`audit`: whether a generator gives back photographs that it was trained on, in feature and in pixel space."""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.data import icdr_grade
from monai_retina_gen.data.sampling import spread
from monai_retina_gen.evidence.audit.copying_audit import AUDIT_FILE, audit
from monai_retina_gen.evidence.evaluation.extractor import load_extractor
from monai_retina_gen.evidence.evaluation.image_sets import generated_images, photographs, read_section


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--generator retina_vae --datalist idrid.json --out audit")
    source = parser.add_mutually_exclusive_group(required=True)
    parser.add_argument("--generator", group=source)
    parser.add_argument("--images", group=source)
    parser.datalist("DATALIST[:SECTION] that it was trained on (training)")
    parser.add_argument("--holdout", metavar="DATALIST", help="what it has not seen (default: the test section)")
    parser.add_argument("--count", type=int, default=200, help="samples, with the training grades")
    parser.shared("--out", "--extractor", "--seed", "--device")


def run(args: argparse.Namespace) -> None:
    train_items = read_section(args.datalist, args.dataset_dir, default="training")
    holdout = args.holdout or args.datalist.removesuffix(":training")
    holdout_items = read_section(holdout, args.dataset_dir, default="test")
    grades = [icdr_grade(train_items[i]) for i in spread(len(train_items), args.count)]
    asked = [grades[i % len(grades)] for i in range(args.count)]
    generated = generated_images(args.images or args.generator, asked, seed=args.seed, device=args.device)
    train, unseen = photographs(train_items, generated.size), photographs(holdout_items, generated.size, "hold-out")
    extractor = load_extractor(args.extractor, device=args.device)
    result = audit(generated, train, unseen, extractor=extractor, out=args.out)
    print("\n".join([*result["verdict"]["sentences"], f"wrote {Path(args.out) / AUDIT_FILE}"]))
