"""Fetching a file of a zoo: over encrypted addresses, no more bytes than expected, resumed where it broke.

pooch transfers. It neither resumes nor bounds what comes, and follows any redirect: `_Part` adds these three.
"""

from __future__ import annotations

import io
import logging
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from monai_retina_gen import __version__
from monai_retina_gen.errors import ZooError, ZooUnavailableError

ATTEMPTS = 3
TIMEOUT = 30.0

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_CHUNK = 1 << 13  # what a break may lose

logger = logging.getLogger(__name__)


def download(url: str, part: Path, size: int) -> None:
    """Download `size` bytes into `part`, from where an earlier try stopped; a break is retried twice.

    Args:
        url: an `https://` address (`http://` only on this machine).
        part: the file; may hold the beginning already.
        size: bytes of the whole; more are refused.

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

    Raises:
        ZooError: unless the scheme is `https`, or `http` to this machine.
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
