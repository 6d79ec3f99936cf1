"""Publishing a zoo on Hugging Face: one repository with archives and indices, and one of each bundle for MONAI.

`huggingface_hub` speaks to the server: https://huggingface.co/docs/huggingface_hub/package_reference/hf_api.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from monai_retina_gen.errors import ZooError
from monai_retina_gen.weights import INDEX_FILE, ZooEntry, ZooIndex, parse_index
from monai_retina_gen.weights.zoo_transfer import check_address
from monai_retina_gen.weights.zoo_unpack import unpack
from monai_retina_gen.zoo.building import MODEL_INFO
from monai_retina_gen.zoo.publishing import checked_repository

logger = logging.getLogger(__name__)


def hub_address(repository: str) -> str:
    """Where the files of a repository are downloaded from: the address of the zoo.

    Raises:
        ZooError: if the repository is not `OWNER/NAME`.

    Examples:
        >>> hub_address("me/zoo")
        'https://huggingface.co/me/zoo/resolve/main'
    """
    return f"{_endpoint()}/{checked_repository(repository)}/resolve/main"


def publish_hub(folder: Path, repository: str, *, token: str) -> list[str]:
    """Upload a zoo that `build_zoo` wrote to `OWNER/NAME`, and each bundle, unpacked, to `OWNER/<bundle>`.

    The first is a zoo for `zoo download`; the others, tagged with their versions, are what MONAI's own
    `download --source huggingface_hub` wants. Archives and tags that are there stay as they are; the indices are
    replaced in the same commit that adds archives. `HF_ENDPOINT` names another server than Hugging Face's.

    Args:
        folder: the zoo.
        repository: `OWNER/NAME`; it is made where it is not there.
        token: the owner's, with the right to write.

    Returns:
        Names of the uploaded files, and `OWNER/<bundle>@<version>` of the uploaded bundles.

    Raises:
        ZooError: if `huggingface_hub` is not installed, the repository has another archive under the same name, or
            the server refuses.
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
    wanted = []
    for entry in index.entries:
        if entry.file not in there:
            wanted.append(entry.file)
        elif not _is_same(there[entry.file], folder, entry):
            raise ZooError(
                f"{repository} has another {entry.file} (ours has sha256 {entry.sha256}): raise the bundle's version; "
                "what is published is not changed"
            )
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
