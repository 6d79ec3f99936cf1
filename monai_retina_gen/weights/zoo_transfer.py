"""Fetching a file of a zoo: over encrypted addresses, no more bytes than expected, resumed where it broke; unpacking.

pooch transfers. It neither resumes nor bounds what comes, and follows any redirect: `_Part` adds these three.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import stat
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from monai_retina_gen import __version__
from monai_retina_gen.errors import ZooError, ZooUnavailableError
from monai_retina_gen.weights.zoo_index import MAX_FILES, ZooEntry

ATTEMPTS = 3
TIMEOUT = 30.0

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_CHUNK = 1 << 13  # what a break may lose

logger = logging.getLogger(__name__)


def download(url: str, part: Path, size: int) -> None:
    """Download `size` bytes into `part`, from where an earlier try stopped; a break is retried twice.

    Raises:
        ZooUnavailableError: if the server cannot be reached, refuses, or downloads are forbidden (`MRG_OFFLINE`).
        ZooError: for an address or an answer that is refused.
    """
    have = part.stat().st_size if part.is_file() else 0
    if have > size:
        part.unlink()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return None if have == size else receive(url, part, size)
        except ZooUnavailableError as error:
            have = part.stat().st_size if part.is_file() else 0
            if attempt == ATTEMPTS:
                there = f"{have} of {size} bytes are there"
                raise ZooUnavailableError(f"{error} ({there}); start again to go on where it stopped") from error
            logger.warning(f"{error}; going on")
            time.sleep(0.2 * attempt)


def receive(url: str, path: Path, limit: int) -> None:
    """One transfer, appended to a file, of at most `limit` bytes; errors as of `download`."""
    from pooch import HTTPDownloader  # here, as what never downloads needs neither
    from requests import exceptions

    if downloads_are_forbidden():
        raise ZooUnavailableError(f"{url} is not asked: MRG_OFFLINE forbids downloads. Use a folder as the zoo.")
    check_address(url)
    with _Part(path, limit, url) as part:
        headers = {"User-Agent": f"monai_retina_gen/{__version__}", "Accept-Encoding": "identity", **part.wanted}
        transfer = HTTPDownloader(
            chunk_size=_CHUNK, timeout=TIMEOUT, headers=headers, hooks={"response": part.check_response}
        )
        try:
            transfer(url, part, None)
        except exceptions.HTTPError as error:
            answer = f"{error.response.status_code} {error.response.reason}"
            raise ZooUnavailableError(f"{url}: the server answers {answer}") from error
        except (exceptions.TooManyRedirects, exceptions.InvalidSchema) as error:
            raise ZooError(f"{url} redirects to where this package does not follow: {error}") from error
        except exceptions.RequestException as error:
            raise ZooUnavailableError(f"{url} cannot be reached, or the transfer broke off: {error}") from error


class _Part(io.FileIO):
    """A file that pooch writes to: from where it ends, at most `limit` bytes, from no other place than may be."""

    def __init__(self, path: Path, limit: int, url: str) -> None:
        super().__init__(path, "ab")
        self.limit, self.url, self.start = limit, url, path.stat().st_size
        self.wanted = {"Range": f"bytes={self.start}-"} if self.start else {}

    def check_response(self, response: Any, **_: Any) -> None:
        """Called before a redirect is followed, and before anything is written."""
        if response.is_redirect:
            target = urljoin(response.url, response.headers["location"])
            check_address(target)
            if response.url.startswith("https:") and not target.startswith("https:"):
                raise ZooError(f"{response.url} redirects to {target}, which is not encrypted; refused")
        elif response.status_code == 200:
            self.truncate(0)  # all of it comes again: the server knows no ranges
        elif response.ok and not str(response.headers.get("Content-Range")).startswith(f"bytes {self.start}-"):
            raise ZooError(f"{response.url} answers with other bytes than were asked for; refused")

    def write(self, chunk: Any) -> int:
        if self.seek(0, os.SEEK_END) + len(chunk) > self.limit:
            self.truncate(0)
            raise ZooError(
                f"{self.url} sends more than the {self.limit} bytes that the index may have or states; refused"
            )
        return super().write(chunk)


def check_address(url: str) -> None:
    """Refuse addresses that anyone on the way could answer for, or that name files of this machine.

    `ZooError` unless the scheme is `https`, or `http` to this machine.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return
    raise ZooError(f"{url}: want an https:// address (http:// is for this machine alone), or a folder")


def downloads_are_forbidden() -> bool:
    """Whether `MRG_OFFLINE` is set (to anything but `0` and `false`): then nothing is asked over the network."""
    return os.environ.get("MRG_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


_READ_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError)


def unpack(archive: Path, entry: ZooEntry, folder: Path) -> Path:
    """Unpack into `folder`, which no one else may use; returns the bundle's folder in it.

    The names in the archive are never used as paths: it is asked for the paths of the index (which have been checked),
    so that a member cannot lead outside. Sizes and hashes are those of the index; what exceeds them is not written.
    `ZooError` if the archive is damaged, or holds other files, links, or other bytes than the index lists.
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
        while chunk := source.read(min(1 << 20, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise ZooError(f"{member.filename!r} unpacks to more than the {member.file_size} bytes it states")
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != sha256:
        raise ZooError(f"{member.filename!r} has sha256 {digest.hexdigest()}, the index lists {sha256}: refused")
