"""Unpacking a bundle's archive: exactly the files that the index lists, with their bytes, and nothing else."""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from pathlib import Path

from monai_retina_gen.errors import ZooError
from monai_retina_gen.weights.zoo_index import MAX_FILES, ZooEntry

_CHUNK = 1 << 20
_READ_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError)


def unpack(archive: Path, entry: ZooEntry, folder: Path) -> Path:
    """Unpack into `folder`, which no one else may use; returns the bundle's folder in it.

    The names in the archive are never used as paths: it is asked for the paths of the index (which have been checked),
    so that a member cannot lead outside. Sizes and hashes are those of the index; what exceeds them is not written.

    Args:
        archive: a zip file.
        entry: what the index says of it.
        folder: an empty folder.

    Raises:
        ZooError: if the archive is damaged, or holds other files, links, or other bytes than the index lists.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = _checked_members(file, entry, archive)
            for path, member in members.items():
                _write(file, member, folder / entry.name / path, str(entry.files[path]["sha256"]))
    except ZooError:
        raise
    except _READ_ERRORS as error:
        raise ZooError(f"{archive} is not a readable zip archive: {error}") from error
    return folder / entry.name


def _checked_members(file: zipfile.ZipFile, entry: ZooEntry, archive: Path) -> dict[str, zipfile.ZipInfo]:
    """Members by path inside the bundle; refuses whatever differs from the index before a byte is written."""
    infos = [info for info in file.infolist() if not info.is_dir()]
    if len(file.infolist()) > 2 * MAX_FILES:
        raise ZooError(f"{archive} lists {len(file.infolist())} members; a bundle has at most {MAX_FILES}")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        _check_kind(info, archive)
        # `orig_filename`: zipfile cuts `filename` at a null byte, which would hide the rest
        top, _, path = info.orig_filename.partition("/")
        if top != entry.name or path not in entry.files:
            raise ZooError(f"{archive} holds {info.orig_filename!r}, which the index does not list: refused")
        if path in found:
            raise ZooError(f"{archive} holds {info.orig_filename!r} twice: refused")
        if info.file_size != entry.files[path]["bytes"]:
            raise ZooError(
                f"{archive}: {info.orig_filename!r} unpacks to {info.file_size} bytes, "
                f"the index lists {entry.files[path]['bytes']}: refused"
            )
        found[path] = info
    missing = sorted(set(entry.files) - set(found))
    if missing:
        raise ZooError(f"{archive} lacks {', '.join(missing[:5])}, which the index lists")
    return found


def _check_kind(info: zipfile.ZipInfo, archive: Path) -> None:
    mode = info.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ZooError(f"{archive}: {info.orig_filename!r} is a link or a device, not a file: refused")
    if info.flag_bits & 0x1:
        raise ZooError(f"{archive}: {info.orig_filename!r} is encrypted: refused")


def _write(file: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, sha256: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), member.file_size
    with file.open(member) as source, target.open("xb") as out:
        while chunk := source.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise ZooError(f"{member.filename!r} unpacks to more than the {member.file_size} bytes it states")
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != sha256:
        raise ZooError(f"{member.filename!r} has sha256 {digest.hexdigest()}, the index lists {sha256}: refused")
