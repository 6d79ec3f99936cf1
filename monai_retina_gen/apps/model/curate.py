"""`model curate`: give a generator without grades images for grades, by drawing many and keeping the good ones.

Those are realistic and graders are sure of them; what was kept and refused is reported with pictures. Stopped, it goes
on where it was.
"""

from __future__ import annotations

import argparse

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS
from monai_retina_gen.evidence.curation.curation import CURATION_FILE, curate, lines
from monai_retina_gen.evidence.evaluation.extractor import DEFAULT_EXTRACTOR, EXTRACTOR_HELP
from monai_retina_gen.evidence.evaluation.image_sets import read_section, section_of


def add_options(parser: CommandParser) -> None:
    parser.describe(
        __doc__,
        "--generator retina_wgan --datalist idrid --dataset-dir IDRID --out curated --store bundles/retina_wgan",
    )
    parser.add_argument("--generator", required=True)
    parser.add_argument("--datalist", required=True, help="DATALIST[:SECTION] that realism is measured by (training)")
    parser.shared("--dataset-dir", "--out")
    parser.add_argument("--candidates", type=int, default=2000, help="images drawn")
    parser.add_argument("--per-grade", type=int, default=100, help="images kept of each grade")
    parser.add_argument("--realism", type=float, default=1.0, help="smallest realism score")
    parser.add_argument("--confidence", type=float, default=0.5, help="smallest probability of the grade")
    parser.add_argument("--graders", default=[DEFAULT_GRADERS], help="BUNDLE or BUNDLE:CONFIG; averaged")
    parser.add_argument("--extractor", default=DEFAULT_EXTRACTOR, help=EXTRACTOR_HELP)
    parser.add_argument("--store", metavar="BUNDLE", help="write the kept latents into its weights and pin them")
    parser.shared("--seed")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.shared("--device")


def run(args: argparse.Namespace) -> None:
    if section_of(args.datalist, default="training") == "test":
        raise ValueError(f"--datalist {args.datalist}: nothing is selected on test photographs; name another section")
    curation = curate(
        args.generator,
        read_section(args.datalist, args.dataset_dir, default="training"),
        args.out,
        store_in=args.store,
        **chosen(args, "candidates", "per_grade", "realism", "confidence", "graders", "extractor"),
        **chosen(args, "seed", "batch_size", "device"),
    )
    print("\n".join([*lines(curation.report), f"wrote {curation.folder / CURATION_FILE}"]))
