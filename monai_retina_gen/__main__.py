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
    "zoo": "build, publish, list, download and verify the bundles of a model zoo",
    "model": "train or adapt generators, graders and the label gate",
}
# commands of a group, by name: the module below `apps` with `add_<name>` and `run_<name>`, and what the command does
MODEL_COMMANDS = {
    "directions": ("model.style", "find a StyleGAN3's lesion directions and store them in its bundle"),
    "invert": ("model.style", "find the styles of photographs and keep them on disk"),
    "style-statistics": ("model.style", "measure a StyleGAN3's style channels and store the statistics in its bundle"),
    "import-stylegan3": ("model.style", "make a bundle of a StyleGAN3 trained with the original implementation"),
    "lesion-bank": ("model.parts", "collect real lesions for composing masks"),
    "versions": ("model.style", "paint versions of photographs with other lesions, for training a StyleGAN3"),
    "grading-space": ("model.graders", "fit distributions of grader features per grade, with a plot"),
    "activation-maps": ("model.parts", "write masks of findings that are labelled per photograph only"),
    "curate": ("model.selection", "choose and label images of a generator that knows no grades"),
    "selection-rate": ("model.selection", "train on photographs on whose label readers agree, at several thresholds"),
    "cross-fit": ("model.graders", "train graders that judge only photographs that they never saw"),
    "gate": ("model.graders", "set the label gate's limits, and measure what it detects"),
    "search-grader": ("model.graders", "cross-validate settings of a grader's training, and train the best"),
    "pin": ("model.parts", "install trained weights in a bundle and pin their sha256"),
}
ZOO_COMMANDS = {
    "build": ("zoo", "pack every bundle and write the indices"),
    "publish": ("zoo", "build the zoo and upload it to GitHub or Hugging Face"),
    "list": ("zoo", "what a zoo offers"),
    "download": ("zoo", "install a bundle, checked against the index"),
    "verify": ("zoo", "check bundles as MONAI's model zoo does, and more"),
}
GROUPS = {
    "model": (MODEL_COMMANDS, COMMANDS["model"], "pin my_vae --weights my_vae/output/model.pt"),
    "zoo": (
        ZOO_COMMANDS,
        f"{COMMANDS['zoo']}: a folder, or the same behind an address, with archives of bundles and index.json",
        "download retina_vae --from /mirror/zoo",
    ),
}
"""Commands that have commands of their own, with a description and an example."""


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
    _add_commands(parser, {name: (name, summary) for name, summary in COMMANDS.items()}, words)
    return parser


def _add_commands(
    parser: CommandParser, commands: Mapping[str, tuple[str, str]], words: Sequence[str], *, top: bool = True
) -> None:
    """Name the commands, and describe the one that is called."""
    added = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (place, summary) in commands.items():
        command = added.add_parser(name, help=summary, description=summary)
        if name not in words[:1]:
            continue
        if top and name in GROUPS:
            own, description, example = GROUPS[name]
            command.describe(description, example)
            _add_commands(command, own, words[1:], top=False)
            continue
        module, suffix = importlib.import_module(f"monai_retina_gen.apps.{place}"), name.replace("-", "_")
        getattr(module, "add_options" if top else f"add_{suffix}")(command)
        command.set_defaults(run=getattr(module, "run" if top else f"run_{suffix}"))


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
