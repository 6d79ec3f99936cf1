"""`model import-stylegan3`: a bundle of a StyleGAN3 that was trained with the original implementation."""

from __future__ import annotations

import argparse

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.weights.import_stylegan3 import import_stylegan3

__all__ = ["add_options", "run"]


def add_options(parser: CommandParser) -> None:
    """Describe the command."""
    parser.describe(
        "Reads a state dict of plain tensors with the original's names; never a pickle of objects.",
        "model import-stylegan3 --weights state.pt --out my_stylegan3",
    )
    parser.add_argument("--weights", required=True, help="state dict of the generator, .pt or .safetensors")
    parser.add_argument("--out", required=True, help="folder of the new bundle")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Import and print."""
    out = import_stylegan3(args.weights, args.out)
    print(f"{out}: imported; load_generator({str(out)!r}) samples from it. Name its licence in docs/README.md")
