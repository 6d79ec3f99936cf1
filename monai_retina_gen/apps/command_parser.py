"""One grammar for all commands: options that they share, defaults that help states, and examples that can be copied.

A list of photographs is `--datalist DATALIST[:SECTION]`, a network is a bundle's name or folder or `BUNDLE:CONFIG`, and
several values of an option follow each other with spaces between them.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from typing import Any

from monai_retina_gen.arguments import check_whole


def _device(text: str) -> str:
    """A device that this machine has, as `type=` of an option."""
    if text == "cpu":
        return text
    import torch  # here: help and zoo do without

    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used here: {str(error).splitlines()[0]}") from None
    return text


SHARED: dict[str, dict[str, Any]] = {
    "--datalist": {"help": "datalist, data set name or folder"},
    "--dataset-dir": {"help": "folder of a named data set"},
    "--generator": {"help": "bundle name or folder, or BUNDLE:CONFIG"},
    "--images": {"metavar": "DIR", "help": "folder made by `expand`, judged instead of samples"},
    "--out": {"required": True, "help": "folder to write, or to go on with"},
    "--graders": {"nargs": "+", "help": "BUNDLE or BUNDLE:CONFIG"},
    "--extractor": {"default": "lite2", "help": "lite2 (default), fundus, pixels, inception, or a grader's bundle"},
    "--device": {"type": _device, "default": "cpu", "help": "where to compute: cpu, cuda or cuda:1"},
    "--seed": {"type": int, "default": 0, "help": "seed of all random numbers"},
    "--batch-size": {"type": int, "help": "images at a time"},
    "--image-size": {"type": int, "help": "side of the images in pixels"},
    "--preset": {"help": "settings to start from"},
    "--lesions": {"nargs": "+", "help": "of ma, he, ex, se"},
    "--gate": {"choices": ["label", "none"], "help": "label: keep only images that keep their label"},
}
"""What options mean in every command that has them."""

FROM_ZERO = ("--seed", "--cross-validation", "--rank", "--segment-side", "--min-area", "--steps")
"""Whole numbers that may be 0: all others count something and are at least 1."""


class CommandParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` whose options state their defaults, and whose `example: ...` is not wrapped.

    Options that several commands have need nothing but their name.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"formatter_class": _ExampleFormatter, **kwargs})

    def describe(self, description: str | None, example: str) -> None:
        """Say what the command does, as in its module's docstring, with an example of its options."""
        words = re.sub("^`.*?`: ", "", description or "")
        self.description, self.epilog = words[:1].upper() + words[1:], f"example: {self.prog} {example}"

    def shared(self, *names: str, **kwargs: Any) -> None:
        """Add options as `SHARED` describes them."""
        for name in names:
            self.add_argument(name, **kwargs)

    def datalist(self, what: str | None = None, *, required: bool = True) -> None:
        """Add `--datalist`, which is `what`, with the folder of a named data set."""
        self.add_argument("--datalist", required=required, **({"help": what} if what else {}))
        self.shared("--dataset-dir")

    def add_argument(self, *names: Any, group: Any = None, **kwargs: Any) -> argparse.Action:
        kwargs = {**SHARED.get(names[0], {}), **kwargs}
        if kwargs.get("type") is int:
            kwargs["type"] = _whole_from(0 if names[0] in FROM_ZERO else 1)
        if kwargs.get("help"):
            kwargs["help"] = _with_default(kwargs["help"], kwargs.get("default"))
        add: Callable[..., argparse.Action] = super().add_argument if group is None else group.add_argument
        return add(*names, **kwargs)


def chosen(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Values of some options, as arguments of a function that calls them the same."""
    return {name: getattr(args, name) for name in names}


def json_mapping(text: str) -> dict[Any, Any]:
    """An option's value in JSON, as `type=` of an option."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f'{text!r} came, a mapping such as {{"1": {{"2": 120}}}} is wanted')
    return found


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
    return f"{text} (default {shown.replace('%', '%%')})" if shown else text


class _ExampleFormatter(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example:"):
            return text  # a command broken into lines cannot be copied
        return super()._fill_text(text, width, indent)
