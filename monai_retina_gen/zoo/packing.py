"""Packing a bundle: the files that make it, always in the same bytes.

Files are stored, not compressed: half-precision weights hardly shrink, and what a compressor writes depends on the
library that is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from pathlib import Path
from typing import Any

from monai_retina_gen.data.atomic_file import atomic_path
from monai_retina_gen.errors import ZooError
from monai_retina_gen.weights import ZooEntry, archive_name, check_member_path, read_metadata, sha256_file
from monai_retina_gen.zoo.figures import headline_figures

WEIGHTS_LIMIT = 25 * 2**20
"""Most bytes of one file of a bundle, as MONAI's model zoo has it."""

_PACKED = re.compile(r"LICENSE|configs/[^/]+\.(json|ya?ml|conf)|docs/.+|models/[^/]+")
_HIDDEN = re.compile(r"(^|/)(\.|__pycache__)")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The zip format's first moment: archives carry no time of their own."""


def bundle_files(folder: Path) -> list[str]:
    """Paths, inside a bundle, of what is packed: licence, configurations, documents and pinned weights, sorted.

    Training state, the output of runs, caches and hidden files stay out.

    Raises:
        ZooError: for a link, a file in `models/` that the metadata does not pin or that was changed since, and one that
            is larger than 25 MB.
    """
    pins = read_metadata(folder).get("weights", {})
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() or p.is_symlink()):
        name = path.relative_to(folder).as_posix()
        if _HIDDEN.search(name) or not _PACKED.fullmatch(name):
            continue
        if path.is_symlink():
            raise ZooError(f"{path} is a link: a bundle is packed from files alone")
        if name.startswith("models/"):
            _check_weights(path, pins.get(name, {}).get("sha256"))
        found.append(check_member_path(name, str(folder)))
    missing = sorted({"LICENSE", "configs/metadata.json", *pins} - set(found))
    if missing:
        raise ZooError(f"{folder} lacks {', '.join(missing)}")
    return found


def pack_bundle(folder: Path, out: Path) -> ZooEntry:
    """Write `<name>_v<version>.zip` into `out`; equal files give equal bytes.

    Args:
        folder: the bundle.
        out: an existing folder.

    Returns:
        What the index says of it.

    Raises:
        ZooError: see `bundle_files`.
    """
    metadata = read_metadata(folder)
    name, version = folder.name, str(metadata.get("version", "0.0.0"))
    target = out / archive_name(name, version)
    pins: dict[str, dict[str, Any]] = {}
    with atomic_path(target) as part:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for path in bundle_files(folder):
                content = (folder / path).read_bytes()
                archive.writestr(_member(f"{name}/{path}"), content)
                pins[path] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        os.chmod(part, 0o644)
    return ZooEntry(
        name=name,
        version=version,
        file=target.name,
        sha256=sha256_file(target),
        bytes=target.stat().st_size,
        files=pins,
        task=str(metadata.get("task", "")),
        modes=tuple(metadata.get("modes", ())),
        weights_licence=str(metadata.get("weights_licence", "")),
        figures=headline_figures(metadata),
    )


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=_EPOCH)
    info.create_system, info.external_attr = 3, 0o100644 << 16  # as on Unix, wherever it is packed
    return info


def _check_weights(path: Path, pinned: str | None) -> None:
    if pinned is None:
        raise ZooError(f"{path} is not pinned in configs/metadata.json: `pin` it, or remove it from the bundle")
    if sha256_file(path) != pinned:
        raise ZooError(f"{path} is not the file that configs/metadata.json pins: `pin` it, or restore it")
    if path.stat().st_size > WEIGHTS_LIMIT:
        raise ZooError(f"{path} has {path.stat().st_size / 2**20:.1f} MB; a file of a bundle may have 25")
