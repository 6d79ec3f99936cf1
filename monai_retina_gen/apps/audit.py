"""`audit`: whether a generator gives back photographs that it was trained on."""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.data import icdr_grade
from monai_retina_gen.evidence.audit.copying_audit import (
    AUDIT_FILE,
    audit,
)
from monai_retina_gen.evidence.evaluation.extractor import DEFAULT_EXTRACTOR, EXTRACTOR_HELP, load_extractor
from monai_retina_gen.evidence.evaluation.image_sets import (
    expanded_images,
    photographs,
    read_section,
    sampled_images,
    spread,
)
from monai_retina_gen.generators import load_generator

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "audit",
        description="Nearest neighbours in feature and pixel space, with flips and shifts, beside a hold-out.",
        epilog="example: python -m monai_retina_gen audit --generator retina_vae --train idrid.json --holdout "
        "idrid.json:test --out audit",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--generator", help="bundle name or folder; its samples are audited")
    source.add_argument("--images", metavar="DIR", help="folder made by `expand`, audited instead")
    parser.add_argument("--train", required=True, help="DATALIST[:SECTION] that it was trained on (section: training)")
    parser.add_argument("--holdout", help="DATALIST[:SECTION] that it has not seen (default: that of --train, test)")
    parser.add_argument("--dataset-dir", help="folder of a named data set")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--count", type=int, default=200, help="samples, with the training grades (default 200)")
    parser.add_argument("--extractor", default=DEFAULT_EXTRACTOR, help=EXTRACTOR_HELP)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Audit and print the verdict."""
    train_items = read_section(args.train, args.dataset_dir, default="training")
    holdout_items = read_section(args.holdout or args.train.removesuffix(":training"), args.dataset_dir, default="test")
    if args.images:
        generated = expanded_images(args.images)
    else:
        grades = [icdr_grade(train_items[i]) for i in spread(len(train_items), args.count)]
        grades = [grades[i % len(grades)] for i in range(args.count)]
        generated = sampled_images(load_generator(args.generator, device=args.device), grades, seed=args.seed)
    train, holdout = (
        photographs(items, generated.size, what)
        for items, what in ((train_items, "training"), (holdout_items, "hold-out"))
    )
    extractor = load_extractor(args.extractor, device=args.device)
    result = audit(generated, train, holdout, extractor=extractor, out=args.out)
    print("\n".join(result["verdict"]["sentences"]))
    print(f"wrote {Path(args.out) / AUDIT_FILE}")
    return 0
