"""`reader-study`: a blinded page on which a clinician says real or generated, and the scoring of the answers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_retina_gen.data import icdr_grade, write_json
from monai_retina_gen.evidence.evaluation.image_sets import (
    ImageSet,
    expanded_images,
    photographs,
    read_section,
    sampled_images,
    spread,
)
from monai_retina_gen.evidence.report.reader_score import read_answers, read_key, score_answers
from monai_retina_gen.evidence.report.reader_study import KEY, SCORE, reader_study
from monai_retina_gen.generators import load_generator

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "reader-study",
        description="Writes one page that opens without a network, and its key; later scores the exported answers.",
        epilog="example: python -m monai_retina_gen reader-study --real idrid.json --generated bank --out readers; "
        "then: python -m monai_retina_gen reader-study --score answers.csv --key readers/key.csv",
    )
    parser.add_argument("--real", help="photographs: DATALIST[:SECTION] (section: test)")
    parser.add_argument("--dataset-dir", help="folder of a named data set")
    parser.add_argument("--generated", help="folder made by `expand`, or a generator's bundle")
    parser.add_argument("--n", type=int, default=100, help="images in all, half of them generated (default 100)")
    parser.add_argument("--out", help="folder to write (for --score: by default that of the answers)")
    parser.add_argument("--score", nargs="+", metavar="CSV", help="answers exported by readers")
    parser.add_argument("--key", help="key.csv of the study")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the page, or score answers."""
    if args.score:
        return _score(args)
    missing = [name for name in ("real", "generated", "out") if not getattr(args, name)]
    if missing:
        raise ValueError(f"--{missing[0]} is missing: give --real, --generated and --out, or --score and --key")
    if args.n < 2:
        raise ValueError(f"--n is {args.n}: at least one photograph and one generated image are wanted")
    items = read_section(args.real, args.dataset_dir, default="test")
    items = [items[i] for i in spread(len(items), args.n - args.n // 2)]
    grades = [icdr_grade(item) for item in items]
    generated = _generated(args.generated, grades, args.n // 2, args.seed)
    page = reader_study(photographs(items, generated.size), generated, out=args.out, seed=args.seed)
    print(f"wrote {page}: {len(items)} photographs, {len(generated)} generated images.")
    print(f"Give the reader {page.name} alone; {KEY} holds the answers.")
    return 0


def _generated(source: str, grades: list[int], count: int, seed: int) -> ImageSet:
    """As many as wanted, with the photographs' grades where a generator makes them."""
    if (Path(source) / "manifest.json").is_file():
        images = expanded_images(source)
        return images.select(spread(len(images), count))
    wanted = [grades[i % len(grades)] for i in range(count)]
    return sampled_images(load_generator(source), wanted, seed=seed)


def _score(args: argparse.Namespace) -> int:
    if not args.key:
        raise ValueError("--key is missing: scoring needs the study's key.csv")
    key = read_key(args.key)
    result: dict[str, Any] = score_answers([read_answers(path, key) for path in args.score], key)
    target = Path(args.out or Path(args.score[0]).parent)
    target.mkdir(parents=True, exist_ok=True)
    write_json(result, target / SCORE)
    for name, figure in result["figures"].items():
        value = "undefined" if figure["value"] is None else f"{figure['value']:.3f}"
        interval = "" if figure["low"] is None else f" [{figure['low']:.3f}, {figure['high']:.3f}]"
        print(f"{name}: {value}{interval}")
    print(f"wrote {target / SCORE}")
    return 0
