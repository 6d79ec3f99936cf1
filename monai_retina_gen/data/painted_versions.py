"""Painted versions of photographs: the same eyes with other lesions, listed in one file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_retina_gen.errors import DatalistError

__all__ = ["with_versions"]


def with_versions(items: Sequence[dict[str, Any]], file: str | os.PathLike[str] | None) -> list[dict[str, Any]]:
    """Items with their painted versions under `versions`.

    Args:
        items: of a datalist.
        file: JSON list of `{"image": name of a photograph's file, "versions": [{"image": path, "grade": 0-4, "lesion":
            kind that was painted, "" where all were erased}]}`; paths are relative to the file's folder. `None`: there
            are none.

    Raises:
        DatalistError: for another content.

    Examples:
        >>> import tempfile
        >>> rows = [{"image": "eye.jpg", "versions": [{"image": "eye_ex.jpg", "grade": 2, "lesion": "ex"}]}]
        >>> file = Path(tempfile.mkdtemp()) / "versions.json"
        >>> _ = file.write_text(json.dumps(rows))
        >>> items = with_versions([{"image": "a/eye.jpg", "grade": 0}, {"image": "b.jpg", "grade": 1}], file)
        >>> [[version["lesion"] for version in item["versions"]] for item in items]
        [['ex'], []]
    """
    if file is None:
        return [{**item, "versions": []} for item in items]
    folder = Path(file).parent
    try:
        rows = {
            row["image"]: [dict(each) for each in row["versions"]]
            for row in json.loads(Path(file).read_text(encoding="utf-8"))
        }
        for each in (version for versions in rows.values() for version in versions):
            each["image"], each["grade"] = str(folder / each["image"]), int(each["grade"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatalistError(f"{os.fspath(file)} is no list of painted versions: {error!r}") from error
    return [{**item, "versions": rows.get(Path(str(item["image"])).name, [])} for item in items]
