"""Where the model zoo is: an address or folder with `index.json` and the archives that it names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from monai_retina_gen.errors import ZooError, ZooUnavailableError
from monai_retina_gen.weights.bundle_paths import user_cache

__all__ = ["INDEX_FILE", "PUBLIC_ZOO", "downloads_are_forbidden", "local_folder", "zoo_location"]

PUBLIC_ZOO: str | None = None
"""Address of the public zoo. `None`: it is not published yet; its owner sets it here, and in `docs/zoo.md`."""

INDEX_FILE = "index.json"

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def zoo_location(location: str | os.PathLike[str] | None = None) -> str:
    """The zoo to ask: `location`, else `MRG_ZOO`, else the folder `zoo` of the user's cache, else the public one.

    Args:
        location: an `https://` address (`http://` only on this machine), a `file://` address, or a folder.

    Raises:
        ZooError: if the address has another scheme.
        ZooUnavailableError: if no zoo is known.

    Examples:
        >>> zoo_location("https://example.org/retina/")
        'https://example.org/retina'
    """
    found = os.fspath(location) if location else os.environ.get("MRG_ZOO", "")
    if not found and (user_cache() / "zoo" / INDEX_FILE).is_file():
        found = str(user_cache() / "zoo")
    found = (found or PUBLIC_ZOO or "").rstrip("/")
    if not found:
        raise ZooUnavailableError(
            "no model zoo is known: the public one is not published yet. Name a folder or address that "
            "`python -m monai_retina_gen zoo build` has made with --from, or in MRG_ZOO."
        )
    if _is_address(found) and not found.startswith("file:"):
        check_address(found)
    return found


def local_folder(location: str) -> Path | None:
    """The folder that a location is, or `None` for an address on the network.

    Raises:
        ZooError: if the folder has no index.

    Examples:
        >>> local_folder("https://example.org") is None
        True
    """
    if _is_address(location) and not location.startswith("file:"):
        return None
    folder = Path(url2pathname(urlsplit(location).path) if location.startswith("file:") else location).expanduser()
    if not (folder / INDEX_FILE).is_file():
        raise ZooUnavailableError(
            f"{folder.absolute()} is no model zoo: it has no {INDEX_FILE}. "
            "`python -m monai_retina_gen zoo build --out DIR` makes one."
        )
    return folder


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


def _is_address(location: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", location) is not None  # two letters: C:/ is a folder
