"""`preview`: what a pipeline of transforms (JSON, as in a bundle) does to your photographs, in one picture."""

from __future__ import annotations

import argparse

from monai.utils import set_determinism

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.data import SECTIONS, Item, load_datalist, write_image
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.transforms.preview import preview, read_transforms

EXAMPLE = """--datalist my.json --transforms transforms.json --out grid.png

transforms.json, a list of transforms as in a bundle's configuration:
  [{"_target_": "LoadFundusd", "keys": "image"},
   {"_target_": "CropToFieldOfViewd", "keys": "image", "size": 128},
   {"_target_": "GenerativeAugmentd", "keys": "image", "label_key": "grade", "generator": "retina_vae", "prob": 0.5}]"""


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, EXAMPLE)
    parser.datalist()
    parser.add_argument("--transforms", required=True, help="JSON file with the transforms; runs code, so use your own")
    parser.add_argument("--out", required=True, help="picture to write")
    parser.add_argument("--count", type=int, default=6, help="photographs")
    parser.add_argument("--draws", type=int, default=3, help="times each goes through the transforms")
    parser.add_argument("--size", type=int, default=192, help="side of a picture in pixels")
    parser.shared("--seed")


def run(args: argparse.Namespace) -> None:
    datalist = load_datalist(args.datalist, args.dataset_dir, require_grade=True)
    items: list[Item] = next((datalist[section] for section in SECTIONS if datalist[section]), [])
    if not items:
        raise DatalistError(f"{args.datalist} holds no graded photograph")
    step = max(1, len(items) // args.count)
    set_determinism(args.seed)
    transforms = read_transforms(args.transforms).set_random_state(args.seed)
    write_image(args.out, preview(items[::step][: args.count], transforms, size=args.size, draws=args.draws))
    print(f"wrote {args.out}: left column the photographs, then {args.draws} draws each")
