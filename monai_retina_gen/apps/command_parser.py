"""One voice for the help of all commands: options that they share, defaults, and examples that can be copied."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from monai_retina_gen.arguments import check_whole

__all__ = ["CommandParser"]

SHARED_OPTIONS = {
    "--device": "where to compute: cpu, cuda or cuda:1",
    "--seed": "seed of all random numbers",
    "--batch-size": "images at a time",
    "--image-size": "side of the images in pixels",
    "--preset": "settings to start from",
    "--section": "section of the datalist",
    "--seeds": "trainings of every arm",
    "--steps": "steps of every training",
    "--epochs": "epochs of the training",
    "--max-epochs": "epochs of every training",
    "--learning-rate": "learning rate of every training",
    "--bank-size": "generated images per grade",
    "--gate": "label: keep only images that keep their label",
    "--blend": "ratio and delta bring over what the edit changes, replace takes the image of the generator",
}


FROM_ZERO = ("--seed", "--cross-validation", "--rank", "--segment-side", "--min-area", "--steps")
"""Whole numbers that may be 0: all others count something and are at least 1."""


class CommandParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` whose options state their defaults, and whose `example: ...` is not wrapped.

    Options that several commands have (`--device`, `--seed`, ...) need no help text of their own. Subcommands are of
    this class as well. Whole numbers are at least 1, those of `FROM_ZERO` at least 0.

    Args:
        kwargs: as for `argparse.ArgumentParser`.

    Examples:
        >>> parser = CommandParser(prog="draw", epilog="example: draw --seed 3")
        >>> _ = parser.add_argument("--seed", type=int, default=0)
        >>> for line in parser.format_help().splitlines()[-3:]:
        ...     print(line)
          --seed SEED  seed of all random numbers (default 0)
        <BLANKLINE>
        example: draw --seed 3
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"formatter_class": _ExampleFormatter, **kwargs})

    def add_argument(self, *names: Any, **kwargs: Any) -> argparse.Action:
        least = kwargs.pop("least", 0 if names[0] in FROM_ZERO else 1)
        if kwargs.get("type") is int:
            kwargs["type"] = _whole_from(least)
        text = kwargs.get("help") or SHARED_OPTIONS.get(names[0])
        if text:
            kwargs["help"] = _with_default(text, kwargs.get("default"))
        return super().add_argument(*names, **kwargs)


def _whole_from(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            return check_whole("number", int(text), least=least)
        except ValueError:
            message = f"{text!r} came, one whole number from {least} is wanted"
            raise argparse.ArgumentTypeError(message) from None

    return read


def _with_default(text: str, default: Any) -> str:
    if default is None or isinstance(default, bool) or argparse.SUPPRESS in (default, text) or "default" in text:
        return text
    shown = " ".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)
    return f"{text} (default {shown.replace('%', '%%')})"


class _ExampleFormatter(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example:"):
            return text  # a command broken into lines cannot be copied
        return super()._fill_text(text, width, indent)
