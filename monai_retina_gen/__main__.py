"""The command line: `monai-retina-gen COMMAND`, or `python -m monai_retina_gen COMMAND`."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_retina_gen import __version__, keep_freed_memory
from monai_retina_gen.apps.command_parser import CommandParser

WRAPPERS = ("applying transform", "Failed to evaluate", "Failed to instantiate")
# name: what it does; its module is imported only where it is called
COMMANDS = {
    "demo": "lesions painted on eyes and samples of every generator, on one page in a minute",
    "preview": "show what transforms do to your photographs",
    "datalist": "check photographs and their grades, split them, and write a datalist (JSON)",
    "expand": "write a folder of generated images (a bank), with a datalist",
    "segment": "write masks of lesions, optic disc and vessels, with a datalist",
    "study": "train graders or segmenters with and without generated images, and compare them",
    "evaluate": "compare samples with photographs, their grades with the ones asked for, or judge edits",
    "audit": "search generated images for copies of training photographs",
    "report": "put results on one HTML page; the blinded page for clinicians, and its score",
    "zoo": "build, list, download and verify the bundles of a model zoo",
    "model": "train or adapt generators, graders and the label gate",
}
MODEL_COMMANDS = {
    "directions": "find a StyleGAN3's lesion directions and store them in its bundle",
    "invert": "find the styles of photographs and keep them on disk",
    "style-statistics": "measure the style channels of a StyleGAN3 and store the statistics in its bundle",
    "import-stylegan3": "make a bundle of a StyleGAN3 trained with the original implementation",
    "lesion-bank": "collect real lesions for composing masks",
    "versions": "paint versions of photographs with other lesions, for training a StyleGAN3",
    "grading-space": "fit distributions of grader features per grade, with a plot",
    "activation-maps": "write masks of findings that are labelled per photograph only",
    "curate": "choose and label images of a generator that knows no grades",
    "selection-rate": "train on photographs on whose label readers agree, at several thresholds",
    "cross-fit": "train graders that judge only photographs that they never saw",
    "gate": "set the label gate's limits, and measure what it detects",
    "search-grader": "cross-validate settings of a grader's training, and train the best",
    "pin": "install trained weights in a bundle and pin their sha256",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status.

    What the package itself refuses, and files that cannot be opened, are one line; anything else is a bug and shows its
    traceback.
    """
    for stream in (sys.stdout, sys.stderr):  # a console that knows no UTF-8 shows what it can
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    warnings.formatwarning = _one_line  # the line of code that warns tells a user nothing
    keep_freed_memory()
    arguments = sys.argv[1:] if arguments is None else arguments
    args = _parser([word for word in arguments if not word.startswith("-")]).parse_args(arguments)
    try:
        return int(args.run(args) or 0)
    except Exception as error:
        cause = _cause(error)
        if args.traceback or not _is_refusal(cause):
            raise
        print(f"error: {cause.args[0] if isinstance(cause, KeyError) else cause}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; start the same command again to go on where it stopped", file=sys.stderr)
        return 130


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="monai-retina-gen",
        description="Label-preserving generative augmentation of retinal photographs. Not for clinical use.",
        epilog="example: monai-retina-gen demo\neach command explains itself: monai-retina-gen expand --help",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    model = _add_commands(parser, "monai_retina_gen.apps", COMMANDS, words).get("model")
    if model is not None:
        model.epilog = "example: monai-retina-gen model pin my_vae --weights my_vae/output/model.pt"
        _add_commands(model, "monai_retina_gen.apps.model", MODEL_COMMANDS, words[1:])
    return parser


def _add_commands(
    parser: argparse.ArgumentParser, package: str, commands: Mapping[str, str], words: Sequence[str]
) -> dict[str, argparse.ArgumentParser]:
    """Name the commands, and describe the one that is called; returns its parser by its name."""
    added, called = parser.add_subparsers(dest="command", required=True, metavar="COMMAND"), {}
    for name, summary in commands.items():
        command = added.add_parser(name, help=summary, description=summary)
        if name in words[:1]:
            called[name] = command
            module = importlib.import_module(f"{package}.{name.replace('-', '_')}")
            getattr(module, "add_options", lambda _: None)(command)
            command.set_defaults(run=getattr(module, "run", None))
    return called


def _cause(error: BaseException) -> BaseException:
    """What lies below MONAI's wrappers."""
    while str(error).startswith(WRAPPERS) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_refusal(error: BaseException) -> bool:
    """Whether it is an error of this package, by its class or where it was raised, or the system's about a file."""
    named = isinstance(error, OSError) and error.filename is not None
    if named or type(error).__module__ == "monai_retina_gen.errors":
        return True
    where = traceback.extract_tb(error.__traceback__)[-1]
    ours = Path(where.filename).is_relative_to(Path(__file__).parent)
    return ours and (where.line or "").startswith("raise ")


def _one_line(message: Warning | str, *where: Any, **kwargs: Any) -> str:
    return f"warning: {message}\n"


if __name__ == "__main__":
    sys.exit(main())
