"""Files written whole or not at all, their hashes and names, and the settings that a folder was begun with."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

SUFFIX = ".part"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place when the block ends, and is removed if it fails."""
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


def write_json(value: Any, path: str | os.PathLike[str], *, sort_keys: bool = True) -> None:
    """Write JSON atomically; with sorted keys equal values give equal bytes."""
    write_atomically(path, json.dumps(value, indent=4, sort_keys=sort_keys) + "\n")


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remove_unfinished(folder: str | os.PathLike[str]) -> None:
    """Remove what killed runs have left half-written in a folder; only when no other process writes there."""
    for part in Path(folder).rglob(f".*{SUFFIX}"):
        part.unlink(missing_ok=True)


def photograph_names(paths: Iterable[str]) -> dict[str, str]:
    """A name for every file, no two alike: its path below the folder that all have in common, without the suffix.

    Where two files differ by their suffix alone it stays part of the name; where that is taken too, a part of the
    path's sha256 is.
    """
    listed = sorted(set(paths))
    if not listed:
        return {}
    base = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in listed])
    whole = {path: Path(os.path.relpath(path, base)).as_posix() for path in listed}
    names = {path: str(PurePosixPath(name.removesuffix(".gz")).with_suffix("")) for path, name in whole.items()}
    with_suffix = {path: name.replace(".", "_") for path, name in whole.items()}
    with_hash = {path: f"{name}_{hashlib.sha256(path.encode()).hexdigest()[:16]}" for path, name in names.items()}
    for longer in (with_suffix, with_hash):
        times = Counter(names.values())
        names = {path: longer[path] if times[name] > 1 else name for path, name in names.items()}
    return names


SETTINGS, SHOWN = "settings.json", 5


def begin_folder(folder: str | Path, settings: Mapping[str, Any], *, name: str = SETTINGS) -> Path:
    """Make the folder and write the settings (plain JSON values) into it, or see that it was begun with the same ones.

    Raises:
        ValueError: if the folder was begun with other settings; names those that differ, with both values.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = begin_folder(folder, {"seed": 0})
        ...     begin_folder(folder, {"seed": 1})
        Traceback (most recent call last):
        ...
        ValueError: ... was begun with other settings (seed: 0 there, 1 now); go on with those or choose another --out
    """
    path, wanted = Path(folder) / name, json.loads(json.dumps(settings))
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else wanted
    changed = sorted(key for key in wanted | found if wanted.get(key) != found.get(key))
    if changed:
        told = ", ".join(_told(key, found.get(key), wanted.get(key)) for key in changed)
        raise ValueError(f"{folder} was begun with other settings ({told}); go on with those or choose another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(wanted, path)
    return path.parent


def check_writable(folder: str | Path) -> None:
    """`PermissionError` where a folder, made where it is missing, takes no file: said before hours are spent."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(
            f"{folder}: results cannot be written there ({error.strerror or error}); choose another folder, or a copy "
            "of the bundle"
        ) from error


def _told(key: str, there: Any, now: Any) -> str:
    if isinstance(there, dict) and isinstance(now, dict):
        parts = sorted(name for name in there | now if there.get(name) != now.get(name))
        return f"{key} ({', '.join(parts[:SHOWN])}{f' and {len(parts) - SHOWN} more' if parts[SHOWN:] else ''})"
    return key if isinstance(there, dict) or isinstance(now, dict) else f"{key}: {there} there, {now} now"
