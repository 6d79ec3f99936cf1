"""`lesion-bank`: collect the lesions of a data set's training photographs, for composing masks."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from monai_retina_gen.data import LESION_MASKS, LesionBank, build_lesion_bank, load_datalist, write_json
from monai_retina_gen.data.settings_file import check_writable
from monai_retina_gen.generators.bundle_parts import LESION_BANK
from monai_retina_gen.weights import find_bundle, read_metadata, save_state, sha256_file

__all__ = ["add_parser", "bank_summary", "install_lesion_bank"]


def bank_summary(bank: LesionBank) -> str:
    """A table in words: by grade the eyes, and per lesion the median number and area of its pieces.

    Args:
        bank: the bank.

    Returns:
        A line for every grade that the bank has: `n eyes; lesion: median pieces an eye, median area`.
    """
    lines = []
    for grade in np.unique(bank.grade):
        rows = np.flatnonzero(bank.grade == grade)
        parts = [f"grade {grade}: {len(rows)} eyes, {int(bank.annotated[rows].sum())} annotated"]
        for number, name in enumerate(LESION_MASKS):
            pieces = (bank.kind == number) & np.isin(bank.eye, rows)
            if pieces.any():
                each = np.median(bank.counts[rows, number].sum(1))
                parts.append(f"{name} {each:g} x {np.median(bank.area[pieces]):g} px")
        lines.append("; ".join(parts))
    return "\n".join(lines)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "lesion-bank",
        description="Collects every lesion of the training photographs, with its place in the eye. Annotated masks win "
        "over predicted ones; what the grade excludes is left out.",
        epilog="example: python -m monai_retina_gen lesion-bank --datalist idrid --dataset-dir IDRID "
        "--predicted masks/datalist.json --out lesions.npz",
    )
    parser.add_argument("--datalist", required=True, help="datalist, data set name or folder with grades")
    parser.add_argument("--dataset-dir", help="folder of a named data set")
    parser.add_argument(
        "--predicted",
        nargs="+",
        default=(),
        help="datalists of the same photographs with predicted masks (`segment`, `activation-maps`)",
    )
    parser.add_argument("--diameter", type=int, default=512, help="of the field of view in pixels (default 512)")
    parser.add_argument("--min-area", type=int, default=3, help="smallest piece in pixels (default 3)")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", help="file to write, .npz")
    target.add_argument("--bundle", help="bundle of a mask-to-photograph generator, which samples with it from then on")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build the bank and say what is in it."""
    if args.bundle:
        check_writable(find_bundle(args.bundle) / "configs")
    items = load_datalist(args.datalist, args.dataset_dir)["training"]
    predicted = [item for source in args.predicted for item in load_datalist(source)["training"]]
    bank = build_lesion_bank(items, predicted=predicted, diameter=args.diameter, min_area=args.min_area, progress=True)
    path = install_lesion_bank(bank, find_bundle(args.bundle)) if args.bundle else Path(args.out)
    if args.out:
        path.parent.mkdir(parents=True, exist_ok=True)
        bank.save(path)
    print(f"{bank_summary(bank)}\n{len(bank.eye)} pieces of {len(bank)} eyes in {path}")
    return 0


def install_lesion_bank(bank: LesionBank, bundle: Path) -> Path:
    """Put the bank into a bundle and pin it in its metadata."""
    path = bundle / LESION_BANK
    save_state(bank.state(), path)
    metadata = read_metadata(bundle)
    pin = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    metadata["weights"] = metadata.get("weights", {}) | {LESION_BANK: pin}
    write_json(metadata, bundle / "configs" / "metadata.json", sort_keys=False)
    return path
