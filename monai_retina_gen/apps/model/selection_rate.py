"""`model selection-rate`: train on the photographs whose label enough readers share, at several thresholds.

The samples of each are ranked by critic and realism, with FID and KID of all, the best and the worst. Stopped, it goes
on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.data import load_datalist
from monai_retina_gen.data.datalist_format import iterate_items
from monai_retina_gen.evidence.evaluation.extractor import DEFAULT_EXTRACTOR, EXTRACTOR_HELP, load_extractor
from monai_retina_gen.evidence.study.selection_rate.study import RESULT, SelectionRateStudy
from monai_retina_gen.evidence.study.selection_rate.training import BundleTrainer, parse_overrides


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--datalist my.json --bundle retina_wgan_gp --thresholds 0 0.6 0.7 0.8 --out rates")
    parser.add_argument("--datalist", required=True, help="made by `datalist votes`: items have a selection_rate")
    parser.shared("--dataset-dir")
    parser.add_argument("--bundle", default="retina_wgan_gp", help="bundle whose train.json is run")
    parser.add_argument("--preset", help="further configuration of the bundle, such as kim2021")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.0, 0.6, 0.7, 0.8], help="shares of readers")
    parser.shared("--out")
    parser.add_argument("--max-epochs", type=int, help="of each training (default: the bundle's)")
    parser.add_argument("--image-size", type=int, help="side in pixels (default: the bundle's)")
    parser.add_argument("--override", nargs="+", default=[], metavar="KEY=VALUE", help="of the bundle's train.json")
    parser.add_argument("--samples", type=int, default=100, help="samples of each training")
    parser.add_argument("--top", type=int, default=10, help="size of top and bottom")
    parser.add_argument("--extractor", default=DEFAULT_EXTRACTOR, help=EXTRACTOR_HELP)
    parser.shared("--seed", "--device")


def run(args: argparse.Namespace) -> None:
    datalist = load_datalist(args.datalist, args.dataset_dir)
    overrides = {"device": args.device, **parse_overrides(args.override)}
    overrides |= {k: v for k, v in (("max_epochs", args.max_epochs), ("image_size", args.image_size)) if v is not None}
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
