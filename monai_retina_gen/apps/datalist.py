"""`datalist`: write the datalist of a public data set or a folder of one's own photographs."""

from __future__ import annotations

import argparse

from monai_retina_gen.data import SECTIONS, Datalist, count_grades, load_datalist, save_datalist, votes_datalist

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
        "name", help="data set (idrid, idrid_official, aptos2019, eyepacs, odir5k, hrf, chasedb1, folder), or votes"
    )
    parser.add_argument("root", help="its folder")
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--size", type=int, default=512, help="for sets prepared at several sizes (default 512)")
    parser.add_argument("--grade-map", help="binary or referable")
    votes = parser.add_argument_group("votes of several readers: `datalist votes FOLDER --votes votes.csv`")
    votes.add_argument("--votes", metavar="CSV", help="image,reader1,reader2,... or image,reader,label")
    votes.add_argument("--min-readers", type=int, default=1, help="fewer votes on a photograph are an error")
    votes.add_argument("--no-grades", action="store_true", help="labels of any number, for generators without classes")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the datalist and print its counts."""
    datalist = _read(args)
    save_datalist(datalist, args.out)
    for section in SECTIONS:
        items = datalist[section]
        graded = [item for item in items if "grade" in item]
        print(f"{section}: {len(items)} photographs, grades {count_grades(graded) if graded else 'none'}")
    if "classes" in datalist:
        print(f"classes by number: {', '.join(f'{i} {name}' for i, name in enumerate(datalist['classes']))}")
    print(f"wrote {args.out} (patients {datalist['patients']})")
    return 0


def _read(args: argparse.Namespace) -> Datalist:
    if (args.name == "votes") != bool(args.votes):
        raise ValueError(
            "the name votes and --votes go together: datalist votes FOLDER --votes votes.csv --out my.json"
        )
    if args.votes and args.grade_map:
        raise ValueError("--grade-map is for the grades of a data set; votes have labels of their own")
    if args.votes:
        return votes_datalist(args.votes, args.root, min_readers=args.min_readers, graded=not args.no_grades)
    return load_datalist(args.name, args.root, size=args.size, grade_map=args.grade_map)
