"""`model import-stylegan3`: make a bundle of a state dict with the original's names; never of a pickle of objects."""

from __future__ import annotations

import argparse

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.weights.import_stylegan3 import import_stylegan3


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "--weights state.pt --out my_stylegan3")
    parser.add_argument("--weights", required=True, help="state dict of the generator, .pt or .safetensors")
    parser.add_argument("--out", required=True, help="folder of the new bundle")


def run(args: argparse.Namespace) -> None:
    out = import_stylegan3(args.weights, args.out)
    print(f"{out}: imported; load_generator({str(out)!r}) samples from it. Name its licence in docs/README.md")
