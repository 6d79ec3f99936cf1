"""`model directions`, `invert`, `style-statistics`, `import-stylegan3`, `versions`: StyleGAN3 and its edits."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor

from monai_retina_gen.apps.command_parser import CommandParser, chosen
from monai_retina_gen.data import with_versions, write_json
from monai_retina_gen.data.files import check_writable
from monai_retina_gen.editing import PRESETS, InvertedPhotograph, LabelGate, PhotographCache, SegmenterMasks
from monai_retina_gen.engines import load_segmenter
from monai_retina_gen.evidence.edits.directions import known_lesions, search_directions, store
from monai_retina_gen.evidence.edits.inversions import (
    SUMMARY,
    choose_inverter,
    invert_photographs,
    inverter_identity,
    paint_versions,
    store_limit,
    styles_of_pairs,
)
from monai_retina_gen.evidence.evaluation.image_sets import load_eye, read_section
from monai_retina_gen.generators import (
    STATISTICS,
    StyleGAN3Generator,
    load_generator,
    measure_styles,
    save_style_statistics,
)
from monai_retina_gen.generators.stylegan3_generator import load_style_generator
from monai_retina_gen.weights import find_bundle, read_inference_config, split_bundle_name
from monai_retina_gen.weights.import_stylegan3 import import_stylegan3


def add_directions(parser: CommandParser) -> None:
    parser.describe(run_directions.__doc__, "--generator retina_stylegan3 --lesions ex he --preset joint")
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
    parser.datalist("DATALIST[:SECTION] (training) of the photographs of --versions", required=False)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.shared("--seed", "--device")


def run_directions(args: argparse.Namespace) -> None:
    """Find a generator's lesion directions by contribution scores, and store and show them."""
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
    items: list[dict[Any, Any]] = read_section(args.datalist, args.dataset_dir, default="training")
    eyes = [item for item in with_versions(items, args.versions) if item["versions"]]
    return styles_of_pairs(generator, [{**eye, **load_eye(eye, generator.image_size)} for eye in eyes])


def add_invert(parser: CommandParser) -> None:
    example = "--datalist idrid:training --dataset-dir IDRID --generator retina_stylegan3 --out latents"
    parser.describe(run_invert.__doc__, example)
    parser.datalist("DATALIST[:SECTION] (training)")
    parser.shared("--generator", "--out", required=True)
    parser.add_argument("--optimise", choices=("w", "w+", "s"), help="optimise alone in this space: slow reference")
    parser.add_argument("--steps", type=int, help="refinement steps; optimisation alone takes 1000 by default")
    limit = "store the 99th percentile of distances, of photographs that no network was trained on, in the bundle"
    parser.add_argument("--store-limit", action="store_true", help=limit)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.shared("--device")


def run_invert(args: argparse.Namespace) -> None:
    """Find photographs in a StyleGAN3's style space, once, on disk. Stopped, it goes on where it was."""
    generator = load_style_generator(args.generator, device=args.device)
    name, config_name = split_bundle_name(args.generator)
    if args.store_limit:
        check_writable(find_bundle(name) / "configs")
    inverter = choose_inverter(generator, args.generator, space=args.optimise, steps=args.steps, device=args.device)
    identity = inverter_identity(name, config_name, inverter.settings)
    items = read_section(args.datalist, args.dataset_dir, default="training")
    cache = PhotographCache[InvertedPhotograph](0, folder=args.out, kind=InvertedPhotograph, identity=identity)
    rows = invert_photographs(items, inverter, cache, size=generator.image_size, batch_size=args.batch_size)
    write_json({"identity": identity, "photographs": rows}, Path(args.out) / SUMMARY, sort_keys=False)
    distances = sorted(row["distance"] for row in rows if "distance" in row)
    if not distances:
        raise ValueError("no photograph could be inverted: see the log")
    middle = distances[(len(distances) - 1) // 2]
    print(f"{args.out}: {len(distances)} inversions, median distance {middle:.4f}, largest {distances[-1]:.4f}")
    if args.store_limit:
        print(f"limit stored in {name}: {store_limit(name, config_name, distances, of=identity):.4f}")


def add_style_statistics(parser: CommandParser) -> None:
    parser.describe(run_style_statistics.__doc__, "--generator retina_stylegan3 --samples 10000")
    parser.add_argument("--generator", required=True)
    parser.add_argument("--samples", type=int, default=10_000, help="samples, all grades alike")
    parser.shared("--seed", "--device")


def run_style_statistics(args: argparse.Namespace) -> None:
    """Measure mean and deviation of every style channel, and store them with a StyleGAN3."""
    folder = find_bundle(args.generator)
    check_writable(folder / "configs")
    found = measure_styles(load_style_generator(str(folder), device=args.device), **chosen(args, "samples", "seed"))
    save_style_statistics(folder, found, seed=args.seed)
    constant = int((found.std <= 1e-6).sum())
    print(f"{folder / STATISTICS}: {len(found.mean)} style channels over {found.count} samples, {constant} constant")


def add_import_stylegan3(parser: CommandParser) -> None:
    parser.describe(run_import_stylegan3.__doc__, "--weights state.pt --out my_stylegan3")
    parser.add_argument("--weights", required=True, help="state dict of the generator, .pt or .safetensors")
    parser.add_argument("--out", required=True, help="folder of the new bundle")


def run_import_stylegan3(args: argparse.Namespace) -> None:
    """Make a bundle of a state dict with the original's names; never of a pickle of objects."""
    out = import_stylegan3(args.weights, args.out)
    print(f"{out}: imported; load_generator({str(out)!r}) samples from it. Name its licence in docs/README.md")


def add_versions(parser: CommandParser) -> None:
    parser.describe(run_versions.__doc__, "--datalist idrid:training --dataset-dir IDRID --out versions")
    parser.datalist("DATALIST[:SECTION] (training)")
    parser.shared("--out")
    parser.add_argument("--generator", default="retina_lesion_painter")
    parser.add_argument("--lesions", default=["he", "ex", "se"])
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.shared("--seed", "--device")


def run_versions(args: argparse.Namespace) -> None:
    """Erase the lesions of photographs and paint one kind at a time, for training a StyleGAN3."""
    items = read_section(args.datalist, args.dataset_dir, default="training")
    generator: Any = load_generator(args.generator, device=args.device)
    options = chosen(args, "lesions", "batch_size", "seed")
    print(paint_versions(items, generator, args.out, size=args.image_size, **options))
