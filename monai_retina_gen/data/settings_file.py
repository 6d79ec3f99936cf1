"""The settings that a folder of results was begun with: a run that goes on where it stopped must have the same."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_retina_gen.data import write_json

SETTINGS, SHOWN = "settings.json", 5


def begin_folder(folder: str | Path, settings: Mapping[str, Any], *, name: str = SETTINGS) -> Path:
    """Make the folder and write the settings into it, or see that it was begun with the same ones.

    Args:
        folder: folder of the results.
        settings: what the results depend on, plain JSON values; tuples count as lists.
        name: file in the folder.

    Returns:
        The folder.

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
