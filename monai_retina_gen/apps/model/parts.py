"""`model lesion-bank`, `activation-maps`, `pin`: lesions and masks for generators, and weights put into a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.data import MASK_KEYS, Datalist, build_lesion_bank, load_datalist
from monai_retina_gen.data.files import check_writable
from monai_retina_gen.generators.bundle_parts import install_lesion_bank
from monai_retina_gen.transforms.segmenting.activation_maps import DATALIST, train_classifier, write_activation_masks
from monai_retina_gen.weights import find_bundle
from monai_retina_gen.zoo.packing import pin


def add_lesion_bank(parser: CommandParser) -> None:
    example = "--datalist idrid --dataset-dir IDRID --masks masks/datalist.json --out lesions.npz"
    parser.describe(run_lesion_bank.__doc__, example)
    parser.datalist("datalist, data set name or folder with grades")
    predicted = "the same photographs with predicted masks (`segment`, `model activation-maps`)"
    parser.add_argument("--masks", nargs="+", default=(), metavar="DATALIST", help=predicted)
    parser.add_argument("--diameter", type=int, default=512, help="of the field of view in pixels")
    parser.add_argument("--min-area", type=int, default=3, help="smallest piece in pixels")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", help="file to write, .npz")
    target.add_argument("--bundle", help="bundle of a mask-to-photograph generator, which samples with it from then on")


def run_lesion_bank(args: argparse.Namespace) -> None:
    """Collect the lesions of training photographs, with their places in the eye, for composing masks.

    Annotated masks win over predicted ones; what the grade excludes is left out.
    """
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


def add_activation_maps(parser: CommandParser) -> None:
    example = "--datalist my.json --columns laser=has_laser membrane=has_membrane --out masks"
    parser.describe(run_activation_maps.__doc__, example)
    parser.datalist("datalist; its training section is learned from")
    parser.add_argument("--columns", required=True, nargs="+", metavar="MASK=COLUMN", help="keys of masks and labels")
    parser.shared("--out")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=40, help="epochs of the training")
    parser.add_argument("--threshold", type=float, default=0.4, help="share of the strongest evidence")
    parser.shared("--seed", "--device")


def run_activation_maps(args: argparse.Namespace) -> None:
    """Train a classifier on columns of a datalist, and write where it looked as masks."""
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


def add_pin(parser: CommandParser) -> None:
    parser.describe(run_pin.__doc__, "bundles/retina_vae --weights output/model.pt")
    parser.add_argument("bundle", help="name or folder")
    parser.add_argument("--weights", help="trained state dict; without it the file that is there is pinned")
    parser.add_argument("--config", default="inference", help="configuration of a further network of the bundle")


def run_pin(args: argparse.Namespace) -> None:
    """Put trained weights into a bundle in half precision, check that they fit, and pin their hash."""
    for file, found in pin(args.bundle, args.weights, config_name=args.config).items():
        print(f"{args.bundle}: {file} has {found['bytes']} bytes, sha256 {found['sha256']}")
