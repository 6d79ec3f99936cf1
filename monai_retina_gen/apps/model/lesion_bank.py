"""`model lesion-bank`: collect the lesions of training photographs, with their places in the eye, for composing masks.

Annotated masks win over predicted ones; what the grade excludes is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.data import build_lesion_bank, load_datalist
from monai_retina_gen.data.files import check_writable
from monai_retina_gen.generators.bundle_parts import install_lesion_bank
from monai_retina_gen.weights import find_bundle


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--datalist idrid --dataset-dir IDRID --masks masks/datalist.json --out lesions.npz")
    parser.add_argument("--datalist", required=True, help="datalist, data set name or folder with grades")
    parser.shared("--dataset-dir")
    predicted = "the same photographs with predicted masks (`segment`, `model activation-maps`)"
    parser.add_argument("--masks", nargs="+", default=(), metavar="DATALIST", help=predicted)
    parser.add_argument("--diameter", type=int, default=512, help="of the field of view in pixels")
    parser.add_argument("--min-area", type=int, default=3, help="smallest piece in pixels")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", help="file to write, .npz")
    target.add_argument("--bundle", help="bundle of a mask-to-photograph generator, which samples with it from then on")


def run(args: argparse.Namespace) -> None:
    if args.bundle:
        check_writable(find_bundle(args.bundle) / "configs")
    items = load_datalist(args.datalist, args.dataset_dir)["training"]
    predicted = [item for source in args.masks for item in load_datalist(source)["training"]]
    bank = build_lesion_bank(items, predicted=predicted, diameter=args.diameter, min_area=args.min_area, progress=True)
    path = install_lesion_bank(bank, find_bundle(args.bundle)) if args.bundle else Path(args.out)
    if args.out:
        path.parent.mkdir(parents=True, exist_ok=True)
        bank.save(path)
    print(f"{bank.summary()}\n{len(bank.eye)} pieces of {len(bank)} eyes in {path}")
