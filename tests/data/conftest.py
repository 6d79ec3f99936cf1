"""Fixtures of the data tests: tiny files on disk."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture
def write_photograph() -> Callable[..., str]:
    """Writes an 8 x 192 image; photographs with different `value` have different bytes."""
    values = iter(range(1 << 24))

    def write(path: Path, value: int | None = None) -> str:
        number = next(values) if value is None else value
        path.parent.mkdir(parents=True, exist_ok=True)
        # one bit of the number per block of 8 x 8 pixels, so that JPEG keeps all photographs apart
        blocks = Image.new("L", (24, 1))
        blocks.putdata([255 * (number >> bit & 1) for bit in range(24)])
        blocks.resize((192, 8), Image.Resampling.NEAREST).convert("RGB").save(path)
        return str(path)

    return write


@pytest.fixture
def write_table() -> Callable[..., Path]:
    """Writes a CSV table."""

    def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]], encoding: str = "utf-8") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding=encoding, newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return write
