"""`evaluate`: samples beside photographs, whether graders see the grade asked for, and what edits do.

FID, KID, precision, recall, density, coverage, SWD, diversity and realism, with their floors; with --labels the
agreement of graders with the grade asked for, with --edits what edits of each strength do, instead.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.data import LESION_MASKS
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS, LabelGate
from monai_retina_gen.engines.distributed import in_all_processes, is_first
from monai_retina_gen.evidence.edits.alpha_study import AlphaSettings, alpha_study, alpha_table
from monai_retina_gen.evidence.edits.phantom_edits import phantom_study
from monai_retina_gen.evidence.evaluation.generator_evaluation import (
    METRICS_FILE,
    SMALLEST,
    evaluate,
    headline,
    write_eval_metrics,
)
from monai_retina_gen.evidence.evaluation.image_sets import generated_images, photographs, read_section, section_of
from monai_retina_gen.evidence.evaluation.label_agreement import LABEL_CHECK_FILE, label_check, load_grader
from monai_retina_gen.evidence.report.html import interval_text
from monai_retina_gen.generators import load_generator
from monai_retina_gen.weights.perceptual import load_perceptual


def add_options(parser: CommandParser) -> None:
    parser.describe(
        __doc__,
        "--generator retina_vae --datalist idrid.json --out eval\n"
        "  monai-retina-gen evaluate --labels --images bank --datalist idrid.json --out labels\n"
        "  monai-retina-gen evaluate --edits photographs --generator retina_stylegan3 --datalist idrid.json --lesions "
        "ex he --out edits\n"
        "  monai-retina-gen evaluate --edits phantoms --generator retina_stylegan3:phantom --out phantoms",
    )
    what = parser.add_mutually_exclusive_group()
    parser.add_argument("--labels", group=what, action="store_true", help="judge the grades of samples instead")
    parser.add_argument("--edits", group=what, choices=["photographs", "phantoms"], help="judge edits of these instead")
    parser.shared("--generator", "--images")
    parser.datalist("photographs to judge by: DATALIST[:SECTION] (test; for edits validation)", required=False)
    parser.shared("--out", "--extractor")
    parser.add_argument("--count", type=int, help="samples (default: as many as photographs); or phantoms (default 24)")
    parser.add_argument("--each-grade", action="store_true", help=f"also of grades with {SMALLEST} images of each kind")
    parser.add_argument("--pairs", type=int, default=200, help="pairs of each grade for diversity")
    parser.add_argument("--lpips", action="store_true", help="LPIPS diversity too; may download AlexNet's weights")
    parser.add_argument("--write-metadata", metavar="BUNDLE", help="write headline figures to its metadata")
    parser.shared("--seed", "--device")
    group = parser.add_argument_group("with --labels")
    parser.add_argument("--graders", group=group, default=[DEFAULT_GRADERS])
    parser.add_argument("--per-grade", group=group, type=int, default=40, help="samples of every grade")
    _add_edits(parser)


def _add_edits(parser: CommandParser) -> None:
    group = parser.add_argument_group("with --edits; the graders must not be the gate's")
    add = partial(parser.add_argument, group=group)
    add("--lesions", default=["ex"], help="of ma, he, ex, se (phantoms: default all)")
    add("--strengths", nargs="+", type=float, default=AlphaSettings.strengths, help="of the edits, in [-1, 1]")
    add("--image-size", type=int, default=256)
    blends = ["ratio", "delta", "replace"]
    add("--blend", choices=blends, default="delta", help="ratio and delta bring over changes alone")
    add("--gate", default="none")
    add("--perceptual", default="retina_grader:dr_vgg16", help="network that measures what changes elsewhere")
    add("--limit", type=int, help="only so many photographs")
    add("--renderer", metavar="BUNDLE", help="what drew the phantoms that the generator learned: retina_drgan")


@in_all_processes
def run(args: argparse.Namespace) -> None:
    if not args.datalist and args.edits != "phantoms":
        raise ValueError("--datalist is wanted: the photographs that generated images are judged by")
    if not args.generator and not (args.labels and args.images):
        raise ValueError("--generator is wanted (or, with --labels, --images)")
    judge = {"photographs": _edits, "phantoms": _phantoms, None: _labels if args.labels else _samples}[args.edits]
    judge(args)


def _samples(args: argparse.Namespace) -> None:
    items, split = read_section(args.datalist, args.dataset_dir, "test"), section_of(args.datalist, default="test")
    options = chosen(args, "extractor", "count", "seed", "pairs", "lpips", "device")
    result = evaluate(args.generator, items, args.out, split=split, per_grade=args.each_grade, **options)
    for name, value in headline(result).items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    if args.write_metadata and is_first():
        print(f"wrote {write_eval_metrics(result, args.write_metadata)}")
    print(f"wrote {Path(args.out) / METRICS_FILE}")


def _labels(args: argparse.Namespace) -> None:
    grades = None if args.images else range(load_generator(args.generator).num_classes)
    asked = [grade for grade in grades or () for _ in range(args.per_grade)]
    generated = generated_images(args.images or args.generator, asked, seed=args.seed, device=args.device)
    graders = [load_grader(name, args.device) for name in args.graders]
    # each at the size of the generated ones: graders must not tell them apart by resolution
    real = photographs(read_section(args.datalist, args.dataset_dir, default="test"), generated.size, "photographs")
    result = label_check(generated, real, graders, out=args.out, seed=args.seed)
    for name in ("generated", "real"):
        overall, per_grade = result[name]["agreement"], result[name]["agreement_per_grade"]["value"]
        shown = ", ".join(f"grade {g} {v:.2f}" for g, v in enumerate(per_grade) if v is not None)
        print(f"{name}: agreement {interval_text(overall)} of n = {overall['n']}; {shown}")
    print("\n".join([*result["warnings"], f"wrote {Path(args.out) / LABEL_CHECK_FILE}"]))


def _edits(args: argparse.Namespace) -> None:
    options = chosen(args, "image_size", "blend", "gate")
    lesions, strengths = tuple(args.lesions), tuple(args.strengths)
    settings = AlphaSettings(lesions=lesions, strengths=strengths, graders=args.graders[0], **options)
    report = alpha_study(
        read_section(args.datalist, args.dataset_dir, default="validation")[: args.limit],
        load_generator(args.generator, device=args.device),
        args.out,
        settings,
        judge=LabelGate(graders=args.graders[0], segmenter=None, device=args.device),
        distance=load_perceptual(args.perceptual, device=args.device),
    )
    print(f"{alpha_table(report['figures'])}\nwrote {args.out}")


def _phantoms(args: argparse.Namespace) -> None:
    lesions = list(LESION_MASKS) if args.lesions == ["ex"] else args.lesions
    options = {"count": args.count or 24, "renderer": args.renderer, "device": args.device}
    print(f"{phantom_study(args.generator, lesions, args.out, **options)}\nwrote {args.out}")
