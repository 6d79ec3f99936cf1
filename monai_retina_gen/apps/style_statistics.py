"""`style-statistics`: mean and standard deviation of every style channel, stored with a StyleGAN3 bundle."""

from __future__ import annotations

import argparse

from monai_retina_gen.apps.style_generator import load_style_generator
from monai_retina_gen.data.settings_file import check_writable
from monai_retina_gen.generators import STATISTICS, measure_styles, save_style_statistics
from monai_retina_gen.weights import find_bundle

__all__ = ["add_parser"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "style-statistics",
        description=f"Mean and standard deviation of every style channel, written to {STATISTICS} and pinned.",
        epilog="example: python -m monai_retina_gen style-statistics --generator retina_stylegan3 --samples 10000",
    )
    parser.add_argument("--generator", required=True, help="bundle name or folder")
    parser.add_argument("--samples", type=int, default=10_000, help="samples, all grades alike (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first sample (default 0)")
    parser.add_argument("--device", default="cpu")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, store and print."""
    folder = find_bundle(args.generator)
    check_writable(folder / "configs")
    generator = load_style_generator(str(folder), device=args.device)
    found = measure_styles(generator, samples=args.samples, seed=args.seed)
    save_style_statistics(folder, found, seed=args.seed)
    constant = int((found.std <= 1e-6).sum())
    print(f"{folder / STATISTICS}: {len(found.mean)} style channels over {found.count} samples, {constant} constant")
    return 0
