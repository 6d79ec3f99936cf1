"""`label-check`: do graders see in generated images the grade that was asked for?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS
from monai_retina_gen.evidence.evaluation.image_sets import (
    expanded_images,
    photographs,
    read_section,
    sampled_images,
)
from monai_retina_gen.evidence.evaluation.label_agreement import (
    LABEL_CHECK_FILE,
    label_check,
    load_grader,
)
from monai_retina_gen.generators import load_generator

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "label-check",
        description="Agreement of graders with the grade asked for, per grade, beside photographs held out.",
        epilog="example: python -m monai_retina_gen label-check --generator retina_vae --datalist d.json --out check",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--generator", help="bundle name or folder; its samples are judged")
    source.add_argument("--images", metavar="DIR", help="folder made by `expand`, judged instead")
    parser.add_argument("--datalist", required=True, help="photographs held out: DATALIST[:SECTION] (section: test)")
    parser.add_argument("--dataset-dir", help="folder of a named data set")
    parser.add_argument("--graders", default=DEFAULT_GRADERS, help="BUNDLE or BUNDLE:CONFIG, separated by commas")
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--per-grade", type=int, default=40, help="samples of every grade (default 40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Judge, and print the agreement per grade."""
    if args.images:
        generated = expanded_images(args.images)
    else:
        generator = load_generator(args.generator, device=args.device)
        grades = [grade for grade in range(generator.num_classes) for _ in range(args.per_grade)]
        generated = sampled_images(generator, grades, seed=args.seed)
    graders = [load_grader(name.strip(), args.device) for name in args.graders.split(",") if name.strip()]
    items = read_section(args.datalist, args.dataset_dir, default="test")
    # each at the size of the generated ones: graders must not tell them apart by resolution
    real = photographs(items, generated.size, "photographs")
    result = label_check(generated, real, graders, out=args.out, seed=args.seed)
    for name in ("generated", "real"):
        print(f"{name}: {_line(result[name])}")
    print("\n".join([*result["warnings"], f"wrote {Path(args.out) / LABEL_CHECK_FILE}"]))
    return 0


def _line(agreement: dict[str, Any]) -> str:
    overall, per_grade = agreement["agreement"], agreement["agreement_per_grade"]["value"]
    shown = ", ".join(f"grade {g} {v:.2f}" for g, v in enumerate(per_grade) if v is not None)
    return (
        f"agreement {overall['value']:.2f} [{overall['low']:.2f}, {overall['high']:.2f}] of n = {overall['n']}; {shown}"
    )
