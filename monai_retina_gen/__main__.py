"""The command line: `python -m monai_retina_gen COMMAND`."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from monai_retina_gen import __version__

__all__ = ["main"]

COMMANDS = (
    "demo",
    "datalist",
    "expand",
    "cross_fit",
    "gate",
    "curate",
    "selection_rate",
    "segment",
    "lesion_bank",
    "segmentation_study",
    "activation_maps",
    "grading_space",
    "preview",
    "study",
    "evaluate",
    "audit",
    "label_check",
    "reader_study",
    "report",
    "style_statistics",
    "directions",
    "invert",
    "alpha_study",
    "phantom_edits",
    "import_stylegan3",
    "pin",
    "zoo",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status. Errors of the user's making are one line without a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    args = _parser().parse_args(arguments)
    try:
        return int(args.run(args) or 0)
    except (ValueError, OSError, RuntimeError) as error:
        if args.traceback:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; start the same command again to go on where it stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monai_retina_gen",
        description="Label-preserving generative augmentation of retinal photographs. Not for clinical use.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"monai_retina_gen.apps.{name}").add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
