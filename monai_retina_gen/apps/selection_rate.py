"""`selection-rate`: train a generator on the photographs whose label enough readers share, at several thresholds.

After Kim et al., "Fake Data Generation for Medical Image Augmentation using GANs", sections II-B and III: training
sets cut at selection rates of 0, 60, 70 and 80 %, 100 samples of each, their top 10 and bottom 10, and the FIDs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.data import Datalist, load_datalist
from monai_retina_gen.data.datalist_format import iterate_items
from monai_retina_gen.evidence.evaluation.extractor import DEFAULT_EXTRACTOR, EXTRACTOR_HELP, load_extractor
from monai_retina_gen.evidence.study.selection_rate.study import RESULT, SelectionRateStudy
from monai_retina_gen.evidence.study.selection_rate.training import BundleTrainer, parse_overrides

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "selection-rate",
        description="Trains a bundle at each threshold of the selection rate, ranks its samples by critic and realism, "
        "and reports FID and KID of all, the best and the worst. Stopped, it goes on where it was.",
        epilog="example: python -m monai_retina_gen selection-rate --datalist my.json --bundle retina_wgan_gp "
        "--thresholds 0 0.6 0.7 0.8 --out rates",
    )
    parser.add_argument("--datalist", required=True, help="made by `datalist votes`: items have a selection_rate")
    parser.add_argument("--dataset-dir", help="folder that its relative paths start from")
    parser.add_argument("--bundle", default="retina_wgan_gp", help="bundle name or folder (default retina_wgan_gp)")
    parser.add_argument("--preset", help="further configuration of the bundle, such as kim2021")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.0, 0.6, 0.7, 0.8], help="shares of readers")
    parser.add_argument("--out", required=True, help="folder to write, or to go on with")
    parser.add_argument("--max-epochs", type=int, help="of each training (default: the bundle's)")
    parser.add_argument("--image-size", type=int, help="side in pixels (default: the bundle's)")
    parser.add_argument("--override", nargs="+", default=[], metavar="KEY=VALUE", help="of the bundle's train.json")
    parser.add_argument("--samples", type=int, default=100, help="samples of each training (default 100)")
    parser.add_argument("--top", type=int, default=10, help="size of top and bottom (default 10)")
    parser.add_argument("--extractor", default=DEFAULT_EXTRACTOR, help=EXTRACTOR_HELP)
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--device", default="cpu")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, judge, and print the tables."""
    datalist = load_datalist(args.datalist, args.dataset_dir)
    overrides = {"device": args.device, **parse_overrides(args.override)}
    overrides |= {k: v for k, v in (("max_epochs", args.max_epochs), ("image_size", args.image_size)) if v is not None}
    if not _is_graded(datalist):
        overrides.setdefault("num_classes", 0)
    trainer = BundleTrainer(args.bundle, preset=args.preset, overrides=overrides, device=args.device)
    study = SelectionRateStudy(
        datalist=datalist,
        thresholds=args.thresholds,
        trainer=trainer,
        load=trainer.load_photographs,
        settings=trainer.settings(),
        output_dir=args.out,
        samples=args.samples,
        top=args.top,
        extractor=load_extractor(args.extractor, args.device),
        seed=args.seed,
        device=args.device,
    )
    study.run()
    print((Path(args.out) / f"{RESULT}.md").read_text(encoding="utf-8"))
    print(f"wrote {Path(args.out) / RESULT}.json")
    return 0


def _is_graded(datalist: Datalist) -> bool:
    return any("grade" in item for _, item in iterate_items(datalist))
