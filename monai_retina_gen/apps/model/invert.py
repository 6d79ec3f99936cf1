"""`model invert`: find photographs in a StyleGAN3's style space, once, on disk. Stopped, it goes on where it was."""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.data import write_json
from monai_retina_gen.data.files import check_writable
from monai_retina_gen.editing import InvertedPhotograph, PhotographCache
from monai_retina_gen.evidence.edits.inversions import (
    SUMMARY,
    choose_inverter,
    invert_photographs,
    inverter_identity,
    store_limit,
)
from monai_retina_gen.evidence.evaluation.image_sets import read_section
from monai_retina_gen.generators.stylegan3_generator import load_style_generator
from monai_retina_gen.weights import find_bundle, split_bundle_name


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--datalist idrid:training --dataset-dir IDRID --generator retina_stylegan3 --out latents")
    parser.add_argument("--datalist", required=True, help="DATALIST[:SECTION] (training)")
    parser.shared("--dataset-dir")
    parser.add_argument("--generator", required=True)
    parser.shared("--out")
    parser.add_argument("--optimise", choices=("w", "w+", "s"), help="optimise alone in this space: slow reference")
    parser.add_argument("--steps", type=int, help="refinement steps; optimisation alone takes 1000 by default")
    limit = "store the 99th percentile of distances, of photographs that no network was trained on, in the bundle"
    parser.add_argument("--store-limit", action="store_true", help=limit)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.shared("--device")


def run(args: argparse.Namespace) -> None:
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
