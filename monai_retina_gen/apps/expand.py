"""`expand`: write generated images for the grades of a datalist, as a data set. Stopped, it goes on where it was."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_retina_gen.apps.command_parser import CommandParser, chosen, json_mapping
from monai_retina_gen.data import MASK_KEYS, Item, LabelGrades, build_lesion_bank, grade_of, load_datalist
from monai_retina_gen.data.files import begin_folder
from monai_retina_gen.engines.distributed import by_first, in_all_processes
from monai_retina_gen.generators import RetinaGenerator, load_generator
from monai_retina_gen.generators.content_record import items_sha256
from monai_retina_gen.transforms.expansion.counts import counts_to_balance
from monai_retina_gen.transforms.expansion.folder import BANK, BANK_OF, check_request, check_unmixed, expand


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--datalist my.json --generator retina_vae --balance --out bank")
    parser.datalist("datalist, data set name or folder whose training grades are filled up", required=False)
    parser.add_argument("--label-key", default="grade", help="key or column of the grade in the datalist")
    parser.add_argument("--grade-map", help="binary or referable: balance these labels; their images have their grades")
    labels = (
        'JSON: photographs by grade of each label, where there are labels alone: \'{"0": 0, "1": {"2": 120, "3": 40}}\''
    )
    parser.add_argument("--label-grades", type=json_mapping, help=labels)
    parser.shared("--generator", "--out", required=True)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--balance", action="store_true", help="fill every grade up to the largest")
    parser.add_argument("--per-grade", group=group, type=int, help="this many images of every grade")
    group.add_argument("--counts", nargs="+", metavar="GRADE:NUMBER", help="images per grade, as 2:100 3:200")
    parser.shared("--seed")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--gate", default="label")
    parser.add_argument("--masks", metavar="DATALIST", help="make images from masks of its training photographs")
    parser.add_argument("--canvas", metavar="DATALIST", help="paint lesions on its healthy training photographs")
    bank = "lesions to compose, of `model lesion-bank` (default: of --masks), or `own`: each photograph's"
    parser.add_argument("--lesion-bank", metavar="FILE", help=bank)
    parser.shared("--device")


@in_all_processes
def run(args: argparse.Namespace) -> None:
    generator = load_generator(args.generator, device=args.device)
    counts, label_grades = _counts(args, generator)
    # of the section that generators were trained on: nothing of another section may get into images
    masks, canvas = (
        load_datalist(source, args.dataset_dir if source == args.datalist else None)["training"] if source else None
        for source in (args.masks, args.canvas)
    )
    labels = None if label_grades is None else LabelGrades(label_grades)
    check_request(generator, counts, labels, args.seed, args.batch_size, masks, canvas)
    by_first(lambda: check_unmixed(Path(args.out)))
    folder = expand(
        generator,
        counts,
        args.out,
        gate=None if args.gate == "none" else args.gate,
        masks=masks,
        canvas=canvas,
        lesion_bank=_bank(args, masks),
        label_grades=label_grades,
        **chosen(args, "seed", "batch_size", "device", "label_key"),
    )
    what = "label" if label_grades else "grade"
    asked, listed = sum(counts.values()), folder / "datalist.json"
    made = sum(len(section) for section in load_datalist(listed).values() if isinstance(section, list))
    print(f"{folder}: {asked} images asked for, by {what} {counts}; {made} written; datalist {listed}")


def _counts(args: argparse.Namespace, generator: RetinaGenerator) -> tuple[dict[int, int], dict[Any, Any] | None]:
    """Counts by grade or label that the command line asks for, and what the labels stand for."""
    if args.label_grades is not None:
        LabelGrades(args.label_grades)  # says what is wrong
    if args.counts:
        return _pairs(args.counts), args.label_grades
    if args.per_grade is not None:
        grades = sorted(set(range(generator.num_classes)) - generator.missing_grades)
        return dict.fromkeys(args.label_grades or grades, args.per_grade), args.label_grades
    if not args.datalist:
        raise ValueError("--balance needs --datalist: the grades that are to be balanced")
    items = load_datalist(
        args.datalist, args.dataset_dir, require_grade=True, label_key=args.label_key, grade_map=args.grade_map
    )["training"]
    return counts_to_balance(items, generator.num_classes, label_key=args.label_key, label_grades=args.label_grades)


def _pairs(words: Sequence[str]) -> dict[int, int]:
    try:
        pairs = [(grade_of(grade, "--counts"), int(number)) for grade, number in (word.split(":") for word in words)]
    except ValueError:
        raise ValueError(f"--counts {' '.join(words)}: want GRADE:NUMBER pairs such as 2:100 3:200") from None
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"--counts {' '.join(words)}: a grade is named twice")
    return dict(pairs)


def _bank(args: argparse.Namespace, masks: Sequence[Item] | None) -> Path | None:
    """Path of the lesion bank; made from the masks, and kept in the folder, where none is named."""
    if masks is None or args.lesion_bank == "own":
        return None
    if args.lesion_bank:
        return Path(args.lesion_bank)
    path = Path(args.out) / BANK

    def make() -> None:
        begin_folder(path.parent, {"masks_sha256": items_sha256(masks, ("image", "grade", *MASK_KEYS))}, name=BANK_OF)
        if not path.is_file():
            build_lesion_bank(masks, progress=True).save(path)

    by_first(make)
    return path
