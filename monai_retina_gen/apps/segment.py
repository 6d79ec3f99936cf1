"""`segment`: write masks of lesions, optic disc and vessels, at each photograph's own size.

Stopped, it goes on where it was. Not for clinical use.
"""

from __future__ import annotations

import argparse

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.data import Datalist, load_datalist
from monai_retina_gen.engines import load_segmenter
from monai_retina_gen.engines.distributed import in_all_processes
from monai_retina_gen.transforms.segmenting.segment import DATALIST, IN_SHEET, OVERLAYS, SUFFIXES, find_images, segment


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--images photographs --out masks --overlays")
    source = parser.add_mutually_exclusive_group(required=True)
    parser.add_argument("--datalist", group=source)
    source.add_argument("--images", nargs="+", metavar="PATH", help="photographs, or folders to search for them")
    parser.shared("--dataset-dir", "--out")
    parser.add_argument("--segmenter", default="retina_lesion_segmentation", help="BUNDLE or BUNDLE:CONFIG")
    parser.add_argument("--format", choices=sorted(SUFFIXES), default="png", help="of the masks")
    parser.add_argument("--soft", action="store_true", help="write probabilities instead of masks")
    parser.add_argument("--overlays", action="store_true", help=f"write {OVERLAYS}: {IN_SHEET} photographs, outlined")
    parser.add_argument("--no-flips", action="store_true", help="no average over flips: a quarter of the time")
    parser.add_argument("--amp", action="store_true", help="bfloat16")
    parser.add_argument("--allow-upsampling", action="store_true", help="take photographs below the network's size")
    parser.add_argument("--keep-annotated", action="store_true", help="annotated masks go before in the datalist")
    parser.add_argument("--follow-grades", action="store_true", help="leave out lesions that the grade excludes")
    parser.shared("--device")


@in_all_processes
def run(args: argparse.Namespace) -> None:
    if args.images:
        datalist: Datalist = load_datalist({"test": find_images(args.images), "name": "photographs"})
    else:
        datalist = load_datalist(args.datalist, args.dataset_dir)
    segmenter = load_segmenter(args.segmenter, device=args.device, flips=not args.no_flips, amp=args.amp)
    options = chosen(args, "soft", "overlays", "allow_upsampling", "keep_annotated", "follow_grades")
    folder = segment(datalist, segmenter, args.out, file_format=args.format, **options)
    print(f"masks of {', '.join(segmenter.structures)} in {folder}; datalist {folder / DATALIST}")
