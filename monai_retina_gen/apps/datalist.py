"""`datalist`: open and check the photographs of a data set or folder, split them, and write MONAI's datalist."""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.data import (
    SECTIONS,
    Datalist,
    check_photographs,
    count_grades,
    load_datalist,
    save_datalist,
    votes_datalist,
)
from monai_retina_gen.data.csv_list import read_standard_csv

EXAMPLES = """folder my_photographs --out my.json
  monai-retina-gen datalist grades.csv images --columns image=file "grade=DR grade" --out my.json
  monai-retina-gen datalist aptos2019 ~/aptos --out aptos.json"""


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, EXAMPLES)
    parser.add_argument(
        "name",
        help="data set (idrid, idrid_official, aptos2019, eyepacs, odir5k, messidor2, dr_images, hrf, chasedb1), "
        "folder (with the folders 0 to 4), a CSV table, or votes",
    )
    parser.add_argument("root", nargs="?", help="folder of the photographs (default for a CSV table: its own)")
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--size", type=int, default=512, help="for sets prepared at several sizes (default 512)")
    parser.add_argument("--grade-map", help="binary or referable")
    parser.add_argument("--no-check", action="store_true", help="do not open the photographs to check them")
    table = parser.add_argument_group("a CSV table with one row per photograph")
    columns = (
        "its columns for image, grade, group (the patient), split (train, val, test) and masks, if named otherwise"
    )
    table.add_argument("--columns", nargs="+", metavar="KEY=COLUMN", help=columns)
    table.add_argument("--image-suffix", help="added to the image column, such as .jpg where it holds an id")
    votes = parser.add_argument_group("votes of several readers: `datalist votes FOLDER --votes votes.csv`")
    votes.add_argument("--votes", metavar="CSV", help="image,reader1,reader2,... or image,reader,label")
    votes.add_argument("--min-readers", type=int, default=1, help="fewer votes on a photograph are an error")
    votes.add_argument("--no-grades", action="store_true", help="labels of any number, for generators without classes")


def run(args: argparse.Namespace) -> None:
    datalist = _read(args)
    if not args.no_check:
        check_photographs(datalist, progress=True)
    save_datalist(datalist, args.out)
    for section in SECTIONS:
        items = datalist[section]
        graded = [item for item in items if "grade" in item]
        print(f"{section}: {len(items)} photographs, grades {count_grades(graded) if graded else 'none'}")
    if "classes" in datalist:
        print(f"classes by number: {', '.join(f'{i} {name}' for i, name in enumerate(datalist['classes']))}")
    print(f"wrote {args.out} (patients {datalist['patients']})")


def _read(args: argparse.Namespace) -> Datalist:
    is_table = args.name.lower().endswith(".csv")
    if (args.name == "votes") != bool(args.votes):
        raise ValueError("votes and --votes go together: datalist votes FOLDER --votes votes.csv --out my.json")
    if (args.columns or args.image_suffix) and not is_table:
        raise ValueError(f"--columns and --image-suffix are for a CSV table, and {args.name} is none")
    if args.root is None and Path(args.name).is_dir():
        raise ValueError(f"{args.name} is a folder: datalist folder {args.name} --out {args.out}, or its data set")
    if args.root is None and not is_table:
        raise ValueError(f"the folder of the photographs is missing: datalist {args.name} FOLDER --out {args.out}")
    if args.votes and args.grade_map:
        raise ValueError("--grade-map is for the grades of a data set; votes have labels of their own")
    if args.votes:
        return votes_datalist(args.votes, args.root, min_readers=args.min_readers, graded=not args.no_grades)
    return load_datalist(_table(args) if is_table else args.name, args.root, size=args.size, grade_map=args.grade_map)


def _table(args: argparse.Namespace) -> Datalist:
    unclear = [pair for pair in args.columns or () if "=" not in pair]
    if unclear:
        raise ValueError(f"--columns {unclear[0]}: KEY=COLUMN is wanted, such as grade=level")
    columns = dict(pair.split("=", 1) for pair in args.columns or ())
    path = Path(args.name).expanduser()
    return read_standard_csv(path, args.root or path.parent, columns, image_suffix=args.image_suffix or "")
