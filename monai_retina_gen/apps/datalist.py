"""`datalist`: write the datalist of a public data set or a folder of one's own photographs."""

from __future__ import annotations

import argparse

from monai_retina_gen.data import SECTIONS, count_grades, load_datalist, save_datalist

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "datalist",
        help="write a datalist (JSON) for a data set or a folder",
        description="Checks a data set and writes its datalist in MONAI's form, split by photograph or patient.",
        epilog="example: python -m monai_retina_gen datalist aptos2019 ~/aptos --out aptos.json",
    )
    parser.add_argument(
        "name", help="data set (idrid, idrid_official, aptos2019, eyepacs, odir5k, hrf, chasedb1, folder)"
    )
    parser.add_argument("root", help="its folder")
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--size", type=int, default=512, help="for sets prepared at several sizes (default 512)")
    parser.add_argument("--grade-map", help="binary or referable")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the datalist and print its counts."""
    datalist = load_datalist(args.name, args.root, size=args.size, grade_map=args.grade_map)
    save_datalist(datalist, args.out)
    for section in SECTIONS:
        items = datalist[section]
        graded = [item for item in items if "grade" in item]
        print(f"{section}: {len(items)} photographs, grades {count_grades(graded) if graded else 'none'}")
    print(f"wrote {args.out} (patients {datalist['patients']})")
    return 0
