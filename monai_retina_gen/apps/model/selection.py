"""`model curate`, `selection-rate`: which samples are kept, and which photographs are trained on."""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.data import load_datalist
from monai_retina_gen.data.datalist_format import iterate_items
from monai_retina_gen.editing.label_gate import DEFAULT_GRADERS
from monai_retina_gen.evidence.curation.curation import CURATION_FILE, curate, lines
from monai_retina_gen.evidence.evaluation.extractor import load_extractor
from monai_retina_gen.evidence.evaluation.image_sets import read_section, section_of
from monai_retina_gen.evidence.study.selection_rate.study import RESULT, SelectionRateStudy
from monai_retina_gen.evidence.study.selection_rate.training import BundleTrainer, parse_overrides


def add_curate(parser: CommandParser) -> None:
    parser.describe(
        run_curate.__doc__,
        "--generator retina_wgan --datalist idrid --dataset-dir IDRID --out curated --store bundles/retina_wgan",
    )
    parser.add_argument("--generator", required=True)
    parser.datalist("DATALIST[:SECTION] that realism is measured by (training)")
    parser.shared("--out")
    parser.add_argument("--candidates", type=int, default=2000, help="images drawn")
    parser.add_argument("--per-grade", type=int, default=100, help="images kept of each grade")
    parser.add_argument("--realism", type=float, default=1.0, help="smallest realism score")
    parser.add_argument("--confidence", type=float, default=0.5, help="smallest probability of the grade")
    parser.add_argument("--graders", default=[DEFAULT_GRADERS], help="BUNDLE or BUNDLE:CONFIG; averaged")
    parser.add_argument("--store", metavar="BUNDLE", help="write the kept latents into its weights and pin them")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.shared("--extractor", "--seed", "--device")


def run_curate(args: argparse.Namespace) -> None:
    """Give a generator without grades images for grades, by drawing many and keeping the good ones.

    Those are realistic and graders are sure of them; what was kept and refused is reported with pictures. Stopped, it
    goes on where it was.
    """
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


def add_selection_rate(parser: CommandParser) -> None:
    example = "--datalist my.json --bundle retina_wgan_gp --thresholds 0 0.6 0.7 0.8 --out rates"
    parser.describe(run_selection_rate.__doc__, example)
    parser.datalist("made by `datalist votes`: items have a selection_rate")
    parser.add_argument("--bundle", default="retina_wgan_gp", help="bundle whose train.json is run")
    parser.add_argument("--preset", help="further configuration of the bundle, such as kim2021")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.0, 0.6, 0.7, 0.8], help="shares of readers")
    parser.shared("--out")
    parser.add_argument("--max-epochs", type=int, help="of each training (default: the bundle's)")
    parser.add_argument("--image-size", type=int, help="side in pixels (default: the bundle's)")
    parser.add_argument("--override", nargs="+", default=[], metavar="KEY=VALUE", help="of the bundle's train.json")
    parser.add_argument("--samples", type=int, default=100, help="samples of each training")
    parser.add_argument("--top", type=int, default=10, help="size of top and bottom")
    parser.shared("--extractor", "--seed", "--device")


def run_selection_rate(args: argparse.Namespace) -> None:
    """Train on the photographs whose label enough readers share, at several thresholds.

    The samples of each are ranked by critic and realism, with FID and KID of all, the best and the worst. Stopped, it
    goes on where it was.
    """
    datalist = load_datalist(args.datalist, args.dataset_dir)
    given = {key: value for key, value in chosen(args, "max_epochs", "image_size").items() if value is not None}
    overrides = {"device": args.device, **parse_overrides(args.override), **given}
    if not any("grade" in item for _, item in iterate_items(datalist)):
        overrides.setdefault("num_classes", 0)
    trainer = BundleTrainer(args.bundle, preset=args.preset or "", overrides=overrides, device=args.device)
    SelectionRateStudy(
        datalist=datalist,
        trainer=trainer,
        load=trainer.load_photographs,
        settings=trainer.settings(),
        output_dir=args.out,
        extractor=load_extractor(args.extractor, args.device),
        **chosen(args, "thresholds", "samples", "top", "seed", "device"),
    ).run()
    print((Path(args.out) / f"{RESULT}.md").read_text(encoding="utf-8"))
    print(f"wrote {Path(args.out) / RESULT}.json")
