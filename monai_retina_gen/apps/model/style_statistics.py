"""`model style-statistics`: measure mean and deviation of every style channel, and store them with a StyleGAN3."""

from __future__ import annotations

import argparse

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.data.files import check_writable
from monai_retina_gen.generators import STATISTICS, measure_styles, save_style_statistics
from monai_retina_gen.generators.stylegan3_generator import load_style_generator
from monai_retina_gen.weights import find_bundle


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--generator retina_stylegan3 --samples 10000")
    parser.add_argument("--generator", required=True)
    parser.add_argument("--samples", type=int, default=10_000, help="samples, all grades alike")
    parser.shared("--seed", "--device")


def run(args: argparse.Namespace) -> None:
    folder = find_bundle(args.generator)
    check_writable(folder / "configs")
    generator = load_style_generator(str(folder), device=args.device)
    found = measure_styles(generator, samples=args.samples, seed=args.seed)
    save_style_statistics(folder, found, seed=args.seed)
    constant = int((found.std <= 1e-6).sum())
    print(f"{folder / STATISTICS}: {len(found.mean)} style channels over {found.count} samples, {constant} constant")
