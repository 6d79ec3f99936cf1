"""`report`: put what the other commands wrote on one HTML page that opens without a network.

With --blind it writes the page on which a clinician says real or generated, and its key; with --score it scores the
exported answers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.data import icdr_grade, write_json
from monai_retina_gen.data.sampling import spread
from monai_retina_gen.evidence.evaluation.image_sets import generated_images, photographs, read_section
from monai_retina_gen.evidence.report.html import interval_text
from monai_retina_gen.evidence.report.reader_study import SCORE, read_answers, read_key, reader_study, score_answers
from monai_retina_gen.evidence.report.report_page import SECTIONS, report, sample_rows
from monai_retina_gen.generators import load_generator


def add_options(parser: CommandParser) -> None:
    parser.describe(
        __doc__,
        "--evaluation eval/metrics.json --audit audit/audit.json --out report.html\n"
        "  monai-retina-gen report --blind 100 --images bank --datalist idrid.json --out readers\n"
        "  monai-retina-gen report --score answers.csv --key readers/key.csv --out readers",
    )
    parser.add_argument("--evaluation", metavar="JSON", help="metrics.json of `evaluate`")
    parser.add_argument("--audit", metavar="JSON", help="audit.json of `audit`")
    parser.add_argument("--label-check", metavar="JSON", help="label_check.json of `evaluate --labels`")
    parser.add_argument("--study", metavar="JSON", help="study.json of `study`, in its folder")
    parser.add_argument("--readers", metavar="JSON", help="score.json of `report --score`")
    parser.add_argument("--training", metavar="LOG", help="TensorBoard folder or file, or a CSV log")
    parser.add_argument("--generator", help="its samples are shown by grade, or to readers: bundle name or folder")
    parser.datalist("DATALIST[:SECTION] with the photographs beside them (validation; test)", required=False)
    parser.add_argument("--out", required=True, help="HTML file to write; a folder with --blind and --score")
    parser.add_argument("--title", default="Generated retinal photographs: the evidence", help="title of the page")
    parser.shared("--seed")
    readers = parser.add_argument_group("readers")
    parser.add_argument("--blind", group=readers, type=int, metavar="N", help="images in all, half of them generated")
    parser.add_argument("--images", group=readers, help="folder made by `expand`, shown instead of samples")
    parser.add_argument("--score", group=readers, nargs="+", metavar="CSV", help="answers exported by readers")
    parser.add_argument("--key", group=readers, metavar="CSV", help="key.csv of the blinded page")


def run(args: argparse.Namespace) -> None:
    if args.score:
        _score(args)
    elif args.blind is not None:
        _blind(args)
    else:
        if bool(args.generator) != bool(args.datalist):
            raise ValueError("--generator and --datalist go together: samples are shown beside photographs")
        samples = None
        if args.generator:
            items, generator = read_section(args.datalist, args.dataset_dir), load_generator(args.generator)
            samples = sample_rows(generator, items, seed=args.seed)
        parts = {name: getattr(args, name) for name in SECTIONS if getattr(args, name)}
        print(f"wrote {report(parts, out=args.out, training=args.training, samples=samples, title=args.title)}")


def _blind(args: argparse.Namespace) -> None:
    if not args.datalist or bool(args.images) == bool(args.generator):
        raise ValueError("--blind wants --datalist, and one of --images and --generator")
    if args.blind < 2:
        raise ValueError(f"--blind is {args.blind}: at least one photograph and one generated image are wanted")
    items = read_section(args.datalist, args.dataset_dir, default="test")
    items = [items[i] for i in spread(len(items), args.blind - args.blind // 2)]
    grades = [icdr_grade(item) for item in items]
    asked = [grades[i % len(grades)] for i in range(args.blind // 2)]
    generated = generated_images(args.images or args.generator, asked, seed=args.seed)
    generated = generated.select(spread(len(generated), args.blind // 2))
    page = reader_study(photographs(items, generated.size), generated, out=args.out, seed=args.seed)
    print(f"wrote {page}: {len(items)} photographs, {len(generated)} generated images.")
    print(f"Give the reader {page.name} alone; the key beside it holds the answers.")


def _score(args: argparse.Namespace) -> None:
    if not args.key:
        raise ValueError("--key is missing: scoring needs the key.csv of the blinded page")
    key = read_key(args.key)
    result = score_answers([read_answers(path, key) for path in args.score], key)
    write_json(result, Path(args.out) / SCORE)
    for name, figure in result["figures"].items():
        print(f"{name}: {interval_text(figure)}")
    print(f"wrote {Path(args.out) / SCORE}")
