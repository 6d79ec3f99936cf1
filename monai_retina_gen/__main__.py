"""The command line: `python -m monai_retina_gen COMMAND`."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from monai_retina_gen import __version__
from monai_retina_gen.apps.command_parser import CommandParser

__all__ = ["main"]

WRAPPERS = ("applying transform", "Failed to evaluate", "Failed to instantiate")
# name: what it does; its module is imported only where it is called
COMMANDS = {
    "demo": "lesions painted on eyes and samples of every generator, on one page in a minute",
    "datalist": "check photographs and their grades, split them, and write a datalist (JSON)",
    "expand": "write a folder of generated images (a bank), with a datalist",
    "search-grader": "cross-validate settings of a grader's training, and train the best",
    "cross-fit": "train graders that judge only photographs that they never saw",
    "gate": "set the label gate's limits, and measure what it detects",
    "curate": "choose and label images of a generator that knows no grades",
    "selection-rate": "train on photographs on whose label readers agree, at several thresholds",
    "segment": "write masks of lesions, optic disc and vessels, with a datalist",
    "lesion-bank": "collect real lesions for composing masks",
    "segmentation-study": "train segmenters with and without synthesized pairs, and compare them",
    "activation-maps": "write masks of findings that are labelled per photograph only",
    "grading-space": "fit distributions of grader features per grade, with a plot",
    "preview": "show what transforms do to one's own photographs",
    "study": "train graders with and without generated images, and compare them",
    "evaluate": "compare a generator's samples with photographs",
    "audit": "search generated images for copies of training photographs",
    "label-check": "ask graders whether generated images carry the grade asked for",
    "reader-study": "write a blinded page for clinicians, and score their answers",
    "report": "put what the other commands wrote on one HTML page",
    "style-statistics": "measure the style channels of a StyleGAN3 bundle and store the statistics in it",
    "directions": "find a StyleGAN3's lesion directions and store them in its bundle",
    "invert": "find the styles of photographs and keep them on disk",
    "alpha-study": "measure accuracy, label flips and lesion areas against the strength of edits",
    "phantom-edits": "edit phantoms, and count the lesion pixels asked for and changed",
    "import-stylegan3": "make a bundle of a StyleGAN3 trained with the original implementation",
    "pin": "install trained weights in a bundle and pin their sha256",
    "zoo": "build, list, download and verify the bundles of a model zoo",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status. Errors of the user's making are one line without a traceback."""
    for stream in (sys.stdout, sys.stderr):  # a console that knows no UTF-8 shows what it can
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    warnings.formatwarning = _one_line  # the line of code that warns tells a user nothing
    arguments = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in arguments if not word.startswith("-")), None)
    args = _parser(command).parse_args(arguments)
    try:
        return int(args.run(args) or 0)
    except (ValueError, OSError, RuntimeError) as error:
        if args.traceback:
            raise
        print(f"error: {_cause(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; start the same command again to go on where it stopped", file=sys.stderr)
        return 130


def _parser(command: str | None) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m monai_retina_gen",
        description="Label-preserving generative augmentation of retinal photographs. Not for clinical use.",
        epilog="example: python -m monai_retina_gen demo\neach command explains itself: "
        "python -m monai_retina_gen expand --help",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        if name == command:
            importlib.import_module(f"monai_retina_gen.apps.{name.replace('-', '_')}").add_parser(commands)
        else:
            commands.add_parser(name, help=summary)
    return parser


def _cause(error: BaseException) -> BaseException:
    """What lies below MONAI's wrappers."""
    while str(error).startswith(WRAPPERS) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _one_line(message: Warning | str, *where: Any, **kwargs: Any) -> str:
    return f"warning: {message}\n"


if __name__ == "__main__":
    sys.exit(main())
