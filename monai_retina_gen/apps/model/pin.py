"""`model pin`: put trained weights into a bundle in half precision, check that they fit, and pin their hash."""

from __future__ import annotations

import argparse

from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.zoo.packing import pin


def add_options(parser: CommandParser) -> None:
    parser.describe(__doc__, "bundles/retina_vae --weights output/model.pt")
    parser.add_argument("bundle", help="name or folder")
    parser.add_argument("--weights", help="trained state dict; without it the file that is there is pinned")
    parser.add_argument("--config", default="inference", help="configuration of a further network of the bundle")


def run(args: argparse.Namespace) -> None:
    for file, found in pin(args.bundle, args.weights, config_name=args.config).items():
        print(f"{args.bundle}: {file} has {found['bytes']} bytes, sha256 {found['sha256']}")
