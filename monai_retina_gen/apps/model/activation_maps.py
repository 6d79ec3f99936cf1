"""`model activation-maps`: train a classifier on columns of a datalist, and write where it looked as masks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.data import MASK_KEYS, Datalist, load_datalist
from monai_retina_gen.transforms.segmenting.activation_maps import DATALIST, train_classifier, write_activation_masks


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--datalist my.json --columns laser=has_laser membrane=has_membrane --out masks")
    parser.add_argument("--datalist", required=True, help="datalist; its training section is learned from")
    parser.shared("--dataset-dir")
    parser.add_argument("--columns", required=True, nargs="+", metavar="MASK=COLUMN", help="keys of masks and labels")
    parser.shared("--out")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=40, help="epochs of the training")
    parser.add_argument("--threshold", type=float, default=0.4, help="share of the strongest evidence")
    parser.shared("--seed", "--device")


def run(args: argparse.Namespace) -> None:
    columns = _columns(args.columns)
    datalist: Datalist = load_datalist(args.datalist, args.dataset_dir)
    options = chosen(args, "image_size", "epochs", "seed", "device")
    network = train_classifier(datalist["training"], columns, **options)
    folder = write_activation_masks(datalist, network, args.out, image_size=args.image_size, threshold=args.threshold)
    print(f"masks of {', '.join(columns)} in {folder}; datalist {folder / DATALIST}")


def _columns(pairs: Sequence[str]) -> dict[str, str]:
    columns = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(columns) != len(pairs) or not set(columns) <= set(MASK_KEYS) or set(columns) & set(columns.values()):
        raise ValueError(
            f"--columns {' '.join(pairs)}: want MASK=COLUMN, each MASK once and one of {', '.join(MASK_KEYS)}, COLUMN "
            "another key of the items, with 0 or 1"
        )
    return columns
