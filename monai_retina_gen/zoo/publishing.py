"""Publishing a zoo: as the files of a GitHub release (https://docs.github.com/en/rest/releases), or on Hugging Face."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_retina_gen.errors import ZooError
from monai_retina_gen.weights import INDEX_FILE, ZooEntry, ZooIndex, parse_index
from monai_retina_gen.weights.zoo_transfer import check_address, unpack
from monai_retina_gen.zoo.building import MODEL_INFO

RELEASE_TAG = "hosting_storage_v1"
"""Tag of the release that MONAI's own `download --source github` looks for."""

TIMEOUT = 300.0

logger = logging.getLogger(__name__)


def release_address(repository: str, tag: str = RELEASE_TAG) -> str:
    """Address of the zoo that a release of the repository is; `ZooError` unless that is `OWNER/NAME`."""
    return f"https://github.com/{checked_repository(repository)}/releases/download/{tag}"


def checked_repository(repository: str) -> str:
    """The name itself; `ZooError` if it is not `OWNER/NAME`."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ZooError(f"repository {repository!r}: want OWNER/NAME")
    return repository


def publish_zoo(folder: Path, repository: str, *, token: str, tag: str = RELEASE_TAG) -> list[str]:
    """Upload a zoo that `build_zoo` wrote, archives first, and return the names of the uploaded files.

    A release that is there goes on: archives that it has stay (GitHub's own digest must be the index's), and the
    indices are replaced. `GITHUB_API_URL` names another server than GitHub's.

    Args:
        folder: the zoo.
        repository: `OWNER/NAME`, which the token may write to.
        token: the owner's, with the right to write contents.
        tag: of the release; it is made where it is not there.

    Raises:
        ZooError: if the release has another archive under the same name, or GitHub refuses.
    """
    release_address(repository, tag)
    api = os.environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
    ask = _Asking(token)
    releases = f"{api}/repos/{repository}/releases"
    release = ask("GET", f"{releases}/tags/{tag}", missing=True) or ask("POST", releases, json={"tag_name": tag})
    there = {asset["name"]: asset for asset in release["assets"]}
    entries = parse_index((folder / INDEX_FILE).read_bytes(), str(folder)).entries
    wanted = _lacking(entries, there, "the release", lambda file, e: file.get("digest") == f"sha256:{e.sha256}")
    for name in (*wanted, INDEX_FILE, MODEL_INFO):
        if name in there:
            ask("DELETE", f"{releases}/assets/{there[name]['id']}")
        logger.info(f"uploading {name}")
        address = release["upload_url"].partition("{")[0]
        ask("POST", address, params={"name": name}, data=(folder / name).read_bytes())
    return [*wanted, INDEX_FILE, MODEL_INFO]


def _lacking(
    entries: Sequence[ZooEntry], there: Mapping[str, Any], place: str, is_same: Callable[[Any, ZooEntry], bool]
) -> list[str]:
    """Archives that a place lacks; it must have no other ones under the same names."""
    for entry in entries:
        if entry.file in there and not is_same(there[entry.file], entry):
            theirs = there[entry.file]
            digest = f"{theirs.get('digest')}, " if isinstance(theirs, Mapping) else ""  # GitHub's; old files have none
            raise ZooError(
                f"{place} has another {entry.file} ({digest}ours has sha256 {entry.sha256}): raise the bundle's "
                "version; what is published is not changed"
            )
    return [entry.file for entry in entries if entry.file not in there]


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


def hub_address(repository: str) -> str:
    """Address of the zoo that a repository is; `ZooError` unless that is `OWNER/NAME`."""
    return f"{_endpoint()}/{checked_repository(repository)}/resolve/main"


def publish_hub(folder: Path, repository: str, *, token: str) -> list[str]:
    """Upload a zoo that `build_zoo` wrote to `OWNER/NAME`, and each bundle, unpacked, to `OWNER/<bundle>`.

    The first is a zoo for `zoo download`; the others, tagged with their versions, are what MONAI's own
    `download --source huggingface_hub` wants. Archives and tags that are there stay as they are; the indices are
    replaced in the same commit that adds archives. `HF_ENDPOINT` names another server than Hugging Face's.

    Returns names of the uploaded files, and `OWNER/<bundle>@<version>` of the uploaded bundles. `ZooError` if
    `huggingface_hub` is not installed, the repository has another archive under the same name, or the server refuses.
    """
    hub_address(repository)
    check_address(_endpoint())
    index = parse_index((folder / INDEX_FILE).read_bytes(), str(folder))
    api, refused = _client(token)
    try:
        return _upload_zoo(api, folder, repository, index) + _upload_bundles(api, folder, repository, index)
    except refused as error:
        raise ZooError(f"{_endpoint()} refuses: {error}") from error


def _upload_zoo(api: Any, folder: Path, repository: str, index: ZooIndex) -> list[str]:
    api.create_repo(repository, exist_ok=True)
    there = {file.path: file for file in api.list_repo_tree(repository)}
    wanted = _lacking(index.entries, there, repository, lambda file, entry: _is_same(file, folder, entry))
    files = [*wanted, INDEX_FILE, MODEL_INFO]
    logger.info(f"uploading {', '.join(files)}")
    api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=files, commit_message="Zoo")
    return files


def _upload_bundles(api: Any, folder: Path, repository: str, index: ZooIndex) -> list[str]:
    """Those whose version has no tag yet."""
    uploaded = []
    for entry in index.latest():
        own = f"{repository.partition('/')[0]}/{entry.name}"
        api.create_repo(own, exist_ok=True)
        if entry.version in {tag.name for tag in api.list_repo_refs(own).tags}:
            continue
        logger.info(f"uploading {own} {entry.version}")
        with tempfile.TemporaryDirectory() as work:
            bundle = unpack(folder / entry.file, entry, Path(work))
            api.upload_folder(repo_id=own, folder_path=bundle, commit_message=entry.version)
        api.create_tag(own, tag=entry.version)
        uploaded.append(f"{own}@{entry.version}")
    return uploaded


def _is_same(file: Any, folder: Path, entry: ZooEntry) -> bool:
    """By the sha256 of a large file, or git's hash of a small one."""
    if file.lfs is not None:
        return bool(file.lfs.sha256 == entry.sha256)
    content = (folder / entry.file).read_bytes()
    return bool(file.blob_id == hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest())


def _client(token: str) -> tuple[Any, type[Exception]]:
    """The interface, and the error with which it refuses."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise ZooError('publishing on Hugging Face needs `pip install "monai-retina-gen[hub]"`') from error
    return HfApi(endpoint=_endpoint(), token=token), HfHubHTTPError


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
