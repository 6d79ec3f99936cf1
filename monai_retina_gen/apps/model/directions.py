"""`model directions`: find a generator's lesion directions by contribution scores, and store and show them."""

from __future__ import annotations

import argparse
from typing import Any

from torch import Tensor

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.data import with_versions
from monai_retina_gen.data.files import check_writable
from monai_retina_gen.editing import PRESETS, LabelGate, SegmenterMasks
from monai_retina_gen.engines import load_segmenter
from monai_retina_gen.evidence.edits.directions import known_lesions, search_directions, store
from monai_retina_gen.evidence.edits.painted_versions import styles_of_pairs
from monai_retina_gen.evidence.evaluation.image_sets import load_eye, read_section
from monai_retina_gen.generators import StyleGAN3Generator
from monai_retina_gen.generators.stylegan3_generator import load_style_generator
from monai_retina_gen.weights import find_bundle, read_inference_config, split_bundle_name


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--generator retina_stylegan3 --lesions ex he --preset joint")
    parser.add_argument("--generator", required=True)
    parser.add_argument("--lesions", help="of ma, he, ex, se (default: those that the segmenter knows)")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="robust", help="which is stored")
    parser.add_argument("--compare", action="store_true", help="measure all presets, and write a table beside")
    parser.add_argument("--images", type=int, metavar="N", default=1000, help="images that are scored")
    parser.add_argument("--probes", type=int, default=16, help="images that channels are probed on")
    parser.add_argument("--segmenter", help="BUNDLE or BUNDLE:CONFIG (default: the one that the bundle names)")
    parser.add_argument("--segment-side", type=int, default=0, help="side at which images are segmented")
    parser.add_argument("--graders", nargs=None, help="BUNDLE:CONFIG of cross-fitted graders that count label flips")
    parser.add_argument("--versions", help="versions.json of `model versions`, for the preset pairs")
    parser.add_argument("--datalist", help="DATALIST[:SECTION] (training) of the photographs of --versions")
    parser.shared("--dataset-dir")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.shared("--seed", "--device")


def run(args: argparse.Namespace) -> None:
    generator = load_style_generator(args.generator, device=args.device)
    name, config_name = split_bundle_name(args.generator)
    folder = find_bundle(name)
    check_writable(folder / "configs")
    bundle = args.segmenter or read_inference_config(folder, config_name).get("segmenter", "retina_lesion_segmentation")
    segmenter = load_segmenter(bundle, device=args.device, flips=False)
    pairs = _pairs(args, generator)
    found = search_directions(
        generator,
        SegmenterMasks(segmenter, side=args.segment_side),
        lesions=known_lesions(args.lesions, segmenter.structures, bundle),
        presets=[name for name in PRESETS if pairs or name != "pairs"] if args.compare else [args.preset],
        pairs=pairs,
        **chosen(args, "images", "probes", "batch_size", "seed"),
        gate=LabelGate(graders=args.graders, segmenter=None, device=args.device) if args.graders else None,
    )
    notes = chosen(args, "images", "seed") | {"segmenter": bundle}
    path = store(folder, config_name, found, args.preset, of=generator.weights_sha256, notes=notes)
    print(path.read_text(encoding="utf-8"))


def _pairs(args: argparse.Namespace, generator: StyleGAN3Generator) -> dict[str, tuple[Tensor, Tensor]]:
    """Styles of the photographs and versions that were named, by lesion."""
    if args.versions is None:
        if args.preset == "pairs":
            raise ValueError("--preset pairs: want --datalist and --versions (versions.json of `model versions`)")
        return {}
    listed: list[dict[Any, Any]] = with_versions(
        read_section(args.datalist, args.dataset_dir, default="training"), args.versions
    )
    eyes = [{**item, **load_eye(item, generator.image_size)} for item in listed if item["versions"]]
    return styles_of_pairs(generator, eyes)
