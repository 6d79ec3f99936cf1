"""Publishing a zoo as the files of a GitHub release, from which it is then downloaded.

GitHub's interface: https://docs.github.com/en/rest/releases.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from monai_retina_gen.errors import ZooError
from monai_retina_gen.weights import INDEX_FILE, parse_index
from monai_retina_gen.weights.zoo_transfer import check_address
from monai_retina_gen.zoo.building import MODEL_INFO

RELEASE_TAG = "hosting_storage_v1"
"""Tag of the release that MONAI's own `download --source github` looks for."""

TIMEOUT = 300.0

logger = logging.getLogger(__name__)


def release_address(repository: str, tag: str = RELEASE_TAG) -> str:
    """Where the files of a release are downloaded from: the address of the zoo.

    Raises:
        ZooError: if the repository is not `OWNER/NAME`.

    Examples:
        >>> release_address("me/zoo")
        'https://github.com/me/zoo/releases/download/hosting_storage_v1'
    """
    return f"https://github.com/{checked_repository(repository)}/releases/download/{tag}"


def checked_repository(repository: str) -> str:
    """The name itself; `ZooError` if it is not `OWNER/NAME`."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ZooError(f"repository {repository!r}: want OWNER/NAME")
    return repository


def publish_zoo(folder: Path, repository: str, *, token: str, tag: str = RELEASE_TAG) -> list[str]:
    """Upload a zoo that `build_zoo` wrote; archives first, so that no index lists what is not there yet.

    A release that is there goes on: archives that it has stay (GitHub's own digest must be the index's), and the
    indices are replaced. `GITHUB_API_URL` names another server than GitHub's.

    Args:
        folder: the zoo.
        repository: `OWNER/NAME`, which the token may write to.
        token: the owner's, with the right to write contents.
        tag: of the release; it is made where it is not there.

    Returns:
        Names of the uploaded files.

    Raises:
        ZooError: if the release has another archive under the same name, or GitHub refuses.
    """
    release_address(repository, tag)
    api = os.environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
    ask = _Asking(token)
    releases = f"{api}/repos/{repository}/releases"
    release = ask("GET", f"{releases}/tags/{tag}", missing=True) or ask("POST", releases, json={"tag_name": tag})
    there = {asset["name"]: asset for asset in release["assets"]}
    wanted = _archives(folder, there)
    for name in (*wanted, INDEX_FILE, MODEL_INFO):
        if name in there:
            ask("DELETE", f"{releases}/assets/{there[name]['id']}")
        logger.info(f"uploading {name}")
        address = release["upload_url"].partition("{")[0]
        ask("POST", address, params={"name": name}, data=(folder / name).read_bytes())
    return [*wanted, INDEX_FILE, MODEL_INFO]


def _archives(folder: Path, there: dict[str, dict[str, Any]]) -> list[str]:
    """Archives of the zoo that the release lacks."""
    wanted = []
    for entry in parse_index((folder / INDEX_FILE).read_bytes(), str(folder)).entries:
        if entry.file not in there:
            wanted.append(entry.file)
        elif there[entry.file].get("digest") != f"sha256:{entry.sha256}":
            raise ZooError(
                f"the release has another {entry.file} ({there[entry.file].get('digest')}, ours is {entry.sha256}): "
                "raise the bundle's version; what is published is not changed"
            )
    return wanted


class _Asking:
    """Requests with the owner's token, which goes to encrypted addresses alone."""

    def __init__(self, token: str) -> None:
        self.headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}

    def __call__(self, method: str, url: str, *, missing: bool = False, **content: Any) -> Any:
        import requests  # here, as only publishing needs it

        check_address(url)
        headers = {**self.headers, **({"Content-Type": "application/octet-stream"} if "data" in content else {})}
        try:
            answer = requests.request(method, url, headers=headers, timeout=TIMEOUT, allow_redirects=False, **content)
        except requests.RequestException as error:
            raise ZooError(f"{method} {url}: {error}") from error
        if missing and answer.status_code == 404:
            return None
        if not 200 <= answer.status_code < 300:
            raise ZooError(f"{method} {url}: the server answers {answer.status_code} {answer.text[:200]}")
        return answer.json() if answer.content else None
