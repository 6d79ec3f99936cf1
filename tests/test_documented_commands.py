"""Command lines in README, manual, bundles and help exist: every option is one that the command has."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from monai_retina_gen.__main__ import _parser

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("bundles/*/docs/README.md")]
PAGES += [path for path in (REPOSITORY / "monai_retina_gen").rglob("*.py") if path.name != "__main__.py"]
LEFT_OUT = re.compile(r" \.\.\.(?= |$)")
"""Stands for options that a page has named before."""


def commands(text: str) -> list[str]:
    """Command lines, from code in the line and in blocks; a backslash goes on in the next line."""
    joined = re.sub(r"\\\\?\n\s*|\"\n\s*f?\"", "", text)
    found = re.findall(r"(?:monai-retina-gen|-m monai_retina_gen) ((?:[a-z]|--)[^`\n#(;]*)", joined)
    return [
        re.sub(r"(?<=[\w/])[\".,:)']+$", "", re.split(r" {2,}|\\n| && |\"$|, then", line)[0].strip()) for line in found
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_commands_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in commands(page.read_text(encoding="utf-8")):
        if "{" in line or "COMMAND" in line or "--help" in line:
            continue
        words = shlex.split(LEFT_OUT.sub("", line).replace("--device cuda", "--device cpu"))  # there may be no GPU
        parser = _parser([word for word in words if not word.startswith("-")])
        try:
            parser.parse_args(words)
        except (SystemExit, argparse.ArgumentError):
            said = capsys.readouterr().err.splitlines()[-1]
            assert "required" in said or LEFT_OUT.search(line) or len(words) < 3, f"{line}: {said}"
            assert "unrecognized" not in said, f"{line}: {said}"
            assert "invalid choice" not in said, f"{line}: {said}"


def test_a_wrong_command_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.md").write_text(
        "```\nmonai-retina-gen expand --generator g \\\n  --counts 2:1 --no-such --out x\n```\n"
    )
    with pytest.raises(AssertionError, match="no-such"):
        test_commands_are_understood(tmp_path / "page.md", capsys)
