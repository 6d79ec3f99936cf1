"""One voice for the help of all commands: options that they share, defaults, and examples that can be copied."""

from __future__ import annotations

import argparse
from typing import Any

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
    "--blend": "delta adds what the edit changes, replace takes the image of the generator",
}


class CommandParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` whose options state their defaults, and whose `example: ...` is not wrapped.

    Options that several commands have (`--device`, `--seed`, ...) need no help text of their own. Subcommands are of
    this class as well.

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
        text = kwargs.get("help") or SHARED_OPTIONS.get(names[0])
        if text:
            kwargs["help"] = _with_default(text, kwargs.get("default"))
        return super().add_argument(*names, **kwargs)


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
