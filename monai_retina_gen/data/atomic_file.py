"""Whole files or none: a reader, and a run that was killed, finds the old file or the new one, never a part."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".part"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place when the block ends, and is removed if it fails.

    Args:
        path: the file to be written; its folder is made.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_path(file) as part:
        ...     _ = part.write_text("whole")
        >>> file.read_text()
        'whole'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}{SUFFIX}")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write bytes, or text as UTF-8, at once or not at all."""
    with atomic_path(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def remove_unfinished(folder: str | os.PathLike[str]) -> None:
    """Remove what killed runs have left half-written in a folder; only when no other process writes there."""
    for part in Path(folder).rglob(f".*{SUFFIX}"):
        part.unlink(missing_ok=True)
