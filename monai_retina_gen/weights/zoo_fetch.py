"""Reading a zoo's files from a folder or over the network: bounded, resumed after a break, no other schemes."""

from __future__ import annotations

import http.client
import logging
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from monai_retina_gen import __version__
from monai_retina_gen.errors import ZooError, ZooUnavailableError
from monai_retina_gen.weights.zoo_index import ZooIndex, parse_index
from monai_retina_gen.weights.zoo_location import (
    INDEX_FILE,
    check_address,
    downloads_are_forbidden,
    local_folder,
    zoo_location,
)

__all__ = ["download_file", "read_index"]

logger = logging.getLogger(__name__)

MAX_INDEX = 8 << 20
ATTEMPTS = 3
TIMEOUT = 30.0
_CHUNK = 1 << 20


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to where an address of the zoo may lead, and never from https to http."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_address(newurl)
        if req.type == "https" and not newurl.startswith("https:"):
            raise ZooError(f"{req.full_url} redirects to {newurl}, which is not encrypted; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def read_index(location: str | None = None) -> ZooIndex:
    """The index of a zoo.

    Args:
        location: see `zoo_location`.

    Raises:
        ZooUnavailableError: if there is no zoo, it does not answer, or downloads are forbidden (`MRG_OFFLINE=1`).
        ZooError: if its index cannot be right.
    """
    where = zoo_location(location)
    folder = local_folder(where)
    if folder is not None:
        path = folder / INDEX_FILE
        if path.stat().st_size > MAX_INDEX:
            raise ZooError(f"{path} has {path.stat().st_size} bytes; an index may have {MAX_INDEX}")
        return parse_index(path.read_bytes(), where)
    with _open(f"{where}/{INDEX_FILE}", {}) as response:
        text = response.read(MAX_INDEX + 1)
    if len(text) > MAX_INDEX:
        raise ZooError(f"{where}/{INDEX_FILE} is longer than {MAX_INDEX} bytes; refused")
    return parse_index(text, where)


def download_file(url: str, part: Path, size: int) -> None:
    """Download `size` bytes into `part`, going on where an earlier try stopped; a break is retried twice.

    Raises:
        ZooUnavailableError: if it breaks off every time; what came stays for the next try.
        ZooError: if more comes than the index says.
    """
    for attempt in range(1, ATTEMPTS + 1):
        problem = _download_once(url, part, size)
        if not problem:
            return
        if attempt < ATTEMPTS:
            logger.warning(f"{url}: {problem}; going on")
            time.sleep(0.2 * attempt)
    raise ZooUnavailableError(
        f"{url}: {problem} ({part.stat().st_size if part.is_file() else 0} of {size} bytes are there); "
        "start again to go on where it stopped"
    )


def _download_once(url: str, part: Path, size: int) -> str:
    """One try; returns what went wrong, or nothing."""
    have = part.stat().st_size if part.is_file() else 0
    if have == size:
        return ""
    if have > size:
        part.unlink()
        have = 0
    with _open(url, {"Range": f"bytes={have}-"} if have else {}) as response:
        resumed = response.status == 206 and str(response.headers.get("Content-Range")).startswith(f"bytes {have}-")
        start = have if resumed else 0
        try:
            _copy(response, part, start=start, size=size, url=url)
        except (http.client.HTTPException, OSError) as error:
            return f"the transfer broke off ({error!r})"
    return "" if part.stat().st_size == size else "the transfer ended early"


def _copy(response: Any, part: Path, *, start: int, size: int, url: str) -> None:
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(total=size, initial=start, unit="B", unit_scale=True, desc=part.name[:30], disable=None) as bar,
    ):
        left = size - start
        while chunk := response.read(min(_CHUNK, left + 1)):
            if len(chunk) > left:
                file.truncate(0)
                raise ZooError(f"{url} sends more than the {size} bytes that the index states; refused")
            file.write(chunk)
            bar.update(len(chunk))
            left -= len(chunk)


def _open(url: str, headers: dict[str, str]) -> Any:
    if downloads_are_forbidden():
        raise ZooUnavailableError(f"{url} is not asked: MRG_OFFLINE forbids downloads. Use a folder as the zoo.")
    check_address(url)
    agent = {"User-Agent": f"monai_retina_gen/{__version__}", "Accept-Encoding": "identity"}
    try:
        return _opener().open(urllib.request.Request(url, headers={**agent, **headers}), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if 300 <= error.code < 400:  # a redirect that was not followed: to a file, without an end, to nowhere
            raise ZooError(f"{url} redirects to where this package does not follow: {error.reason}") from error
        raise ZooUnavailableError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ZooUnavailableError(f"{url} cannot be reached: {getattr(error, 'reason', error)}") from error


def _opener() -> urllib.request.OpenerDirector:
    """Handlers for http and https alone (and a proxy, where the environment names one): no files, no ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _CheckedRedirects(),
    ):
        opener.add_handler(handler)
    return opener
