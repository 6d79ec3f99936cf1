"""`model pin`: put trained weights into a bundle, in half precision, and pin their sha256 in its metadata."""

from __future__ import annotations

import argparse

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.zoo.packing import pin

__all__ = ["add_options", "run"]


def add_options(parser: CommandParser) -> None:
    """Describe the command."""
    parser.describe(
        "Writes models/model.pt in half precision, checks that it fits, and pins its hash.",
        "model pin bundles/retina_vae --weights output/model.pt",
    )
    parser.add_argument("bundle", help="name or folder")
    parser.add_argument("--weights", help="trained state dict; without it the file that is there is pinned")
    parser.add_argument("--config", default="inference", help="configuration of a further network of the bundle")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Pin and print."""
    for file, found in pin(args.bundle, args.weights, config_name=args.config).items():
        print(f"{args.bundle}: {file} has {found['bytes']} bytes, sha256 {found['sha256']}")
