"""Names for what is made of photographs, one file each: photographs of equal file names keep apart."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath


def photograph_names(paths: Iterable[str]) -> dict[str, str]:
    """A name for every file, no two alike: its path below the folder that all have in common, without the suffix.

    Where two files differ by their suffix alone it stays part of the name; where that is taken too, a part of the
    path's sha256 is.

    Examples:
        >>> photograph_names(["/eyes/a/1.png", "/eyes/b/1.png", "/eyes/b/1.jpg"])
        {'/eyes/a/1.png': 'a/1', '/eyes/b/1.jpg': 'b/1_jpg', '/eyes/b/1.png': 'b/1_png'}
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
