"""Finding a bundle by path or name, last in the model zoo: hashed before it is opened, unpacked whole or not at all."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock

from monai_retina_gen.errors import BundleNotFoundError, WeightsError, ZooError, ZooUnavailableError
from monai_retina_gen.weights.bundle_paths import local_bundle, read_metadata, user_cache
from monai_retina_gen.weights.state_files import load_state, sha256_file
from monai_retina_gen.weights.zoo_index import BUNDLE_NAME, ZooEntry, ZooIndex, parse_index
from monai_retina_gen.weights.zoo_transfer import check_address, download, receive, unpack

PUBLIC_ZOO: str | None = None
"""Address of the public zoo. `None`: it is not published yet; its owner sets it here, and in `docs/zoo.md`."""

INDEX_FILE = "index.json"
MAX_INDEX = 8 << 20

logger = logging.getLogger(__name__)


def download_bundle(
    name: str,
    *,
    version: str | None = None,
    location: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    replace: bool = False,
) -> Path:
    """Install a bundle from the zoo, or find it installed and unchanged.

    The archive's size and sha256 are checked before it is opened; files are compared with the index one by one; weights
    must load as plain tensors; then the folder appears at once. A broken download goes on at the next call. Several
    processes may ask for the same bundle: one downloads, the others wait.

    Args:
        name: of the bundle.
        version: the highest by default.
        location: address or folder of the zoo; by default `MRG_ZOO`, the user's cache, the public zoo.
        folder: where the bundle's folder is put; the user's cache by default, where `find_bundle` looks.
        replace: put a folder that is there, and is not this version unchanged, aside under another name.

    Returns:
        The bundle's folder.

    Raises:
        ZooUnavailableError: if the zoo cannot be asked or lacks the bundle.
        ZooError: if anything differs from the index; then nothing is installed.
    """
    index = read_index(location)
    entry = index.find(name, version)
    into = Path(folder) if folder is not None else user_cache()
    into.mkdir(parents=True, exist_ok=True)
    target = into / name
    with FileLock(into / f".{name}.lock"):
        problems = installed_problems(target, entry) if target.exists() else ["it is not there"]
        if not problems:
            logger.info(f"{name} {entry.version} is at {target} already, unchanged")
            return target.resolve()
        if target.exists() and not replace:
            raise ZooError(
                f"{target} is there and is not {name} {entry.version} as the zoo at {index.location} lists it: "
                f"{'; '.join(problems[:3])}. Use --replace (replace=True) to put it aside, or another folder."
            )
        _install(entry, index.location, into)
    return target.resolve()


def installed_problems(folder: Path, entry: ZooEntry) -> list[str]:
    """How an installed bundle differs from the index; added files, such as a training's output, do not count."""
    problems = []
    for path, pin in entry.files.items():
        file = folder / path
        if not file.is_file():
            problems.append(f"{path} is missing")
        elif file.stat().st_size != pin["bytes"] or sha256_file(file) != pin["sha256"]:
            problems.append(f"{path} is changed")
    return problems


def zoo_location(location: str | os.PathLike[str] | None = None) -> str:
    """The zoo to ask: `location`, else `MRG_ZOO`, else the folder `zoo` of the user's cache, else the public one.

    It is an `https://` address (`http://` only on this machine), a `file://` address, or a folder. `ZooError` for
    another scheme, `ZooUnavailableError` if no zoo is known.
    """
    found = os.fspath(location) if location else os.environ.get("MRG_ZOO", "")
    if not found and (user_cache() / "zoo" / INDEX_FILE).is_file():
        found = str(user_cache() / "zoo")
    found = (found or PUBLIC_ZOO or "").rstrip("/")
    if not found:
        raise ZooUnavailableError(
            "no model zoo is known: the public one is not published yet. Set MRG_ZOO (`zoo list` and `zoo download`: "
            "or --from) to the folder or address of a zoo made by `monai-retina-gen zoo build`."
        )
    if _is_address(found) and not found.startswith("file:"):
        check_address(found)
    return found


def read_index(location: str | None = None) -> ZooIndex:
    """The index of a zoo (see `zoo_location`).

    Raises:
        ZooUnavailableError: if there is no zoo, it does not answer, or downloads are forbidden (`MRG_OFFLINE=1`).
        ZooError: if its index cannot be right.
    """
    where = zoo_location(location)
    folder = _local_folder(where)
    with tempfile.TemporaryDirectory() as work:
        path = folder / INDEX_FILE if folder else Path(work) / INDEX_FILE
        if folder is None:
            receive(f"{where}/{INDEX_FILE}", path, MAX_INDEX)
        elif path.stat().st_size > MAX_INDEX:
            raise ZooError(f"{path} has {path.stat().st_size} bytes; an index may have {MAX_INDEX}")
        return parse_index(path.read_bytes(), where)


def _install(entry: ZooEntry, location: str, into: Path) -> None:
    """Fetch, check, unpack beside the target, check again, and move into place."""
    target = into / entry.name
    for left in into.glob(f".{entry.name}.*.part"):  # of a process that was killed: the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    archive, is_ours = _fetched(entry, location, into)
    try:
        _check_archive(archive, entry, is_ours)
        with tempfile.TemporaryDirectory(dir=into, prefix=f".{entry.name}.", suffix=".part") as work:
            bundle = unpack(archive, entry, Path(work))
            _check_bundle(bundle, entry)
            if target.exists():
                _put_aside(target)
            bundle.rename(target)
    finally:
        if is_ours and archive.is_file() and archive.stat().st_size >= entry.bytes:
            archive.unlink()  # a part stays, to go on with
    logger.info(f"{entry.name} {entry.version} is at {target}. {entry.weights_licence}")


def _put_aside(target: Path) -> None:
    """Rename, never delete: a bundle's folder may hold the output of someone's training."""
    number = next(n for n in range(1, 10_000) if not target.with_name(f"{target.name}.replaced{n}").exists())
    aside = target.rename(target.with_name(f"{target.name}.replaced{number}"))
    logger.warning(f"{target} was put aside as {aside}")


def _fetched(entry: ZooEntry, location: str, into: Path) -> tuple[Path, bool]:
    """The archive, and whether it is a copy of ours: a folder's is read where it is."""
    mirror = _local_folder(location)
    if mirror is not None:
        logger.info(f"installing {entry.name} {entry.version} from {mirror / entry.file}")
        return mirror / entry.file, False
    part = into / f".{entry.file}.{entry.sha256[:16]}.part"
    logger.info(f"downloading {entry.name} {entry.version} from {location} ({entry.bytes / 1e6:.1f} MB) to {into}")
    download(f"{location}/{entry.file}", part, entry.bytes)
    return part, True


def _check_archive(archive: Path, entry: ZooEntry, is_ours: bool) -> None:
    if not archive.is_file():
        raise ZooError(f"the index lists {archive}, which is not there")
    size = archive.stat().st_size
    found = sha256_file(archive) if size == entry.bytes else f"{size} bytes"
    if found != entry.sha256:
        after = "; it was removed, start again" if is_ours else ""
        raise ZooError(
            f"{archive} has {found}, but the index lists sha256 {entry.sha256} and {entry.bytes} bytes: the file was "
            f"changed or is incomplete. Nothing was unpacked{after}."
        )


def _check_bundle(bundle: Path, entry: ZooEntry) -> None:
    """What the archive holds is the bundle that the index promised, and its weights are tensors alone."""
    metadata = read_metadata(bundle)
    if str(metadata.get("version")) != entry.version:
        raise ZooError(
            f"the index lists {entry.name} {entry.version}, its metadata says version {metadata.get('version')!r}"
        )
    for path in entry.files:
        if path.endswith((".pt", ".pth", ".ckpt", ".pkl")):
            pinned = metadata.get("weights", {}).get(path, {}).get("sha256")
            try:
                load_state(bundle / path, sha256=pinned)
            except WeightsError as error:
                raise ZooError(f"{entry.file} is refused: {error}") from error


def _local_folder(location: str) -> Path | None:
    """The folder that a location is, or `None` for an address on the network."""
    if _is_address(location) and not location.startswith("file:"):
        return None
    folder = Path(url2pathname(urlsplit(location).path) if location.startswith("file:") else location).expanduser()
    if not (folder / INDEX_FILE).is_file():
        raise ZooUnavailableError(
            f"{folder.absolute()} is no model zoo: it has no {INDEX_FILE}. "
            "`monai-retina-gen zoo build --out DIR` makes one."
        )
    return folder


def _is_address(location: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", location) is not None  # two letters: C:/ is a folder


def find_bundle(name: str | os.PathLike[str], *, download: bool = True) -> Path:
    """Folder of a bundle: by path, then in `MRG_BUNDLES`, `./bundles`, beside the bundle one is in, the user's cache.

    One that is in none of them is installed in the cache from the model zoo, if one is known (`MRG_ZOO`, a zoo in the
    cache, the public zoo); what is downloaded from where is logged. `MRG_OFFLINE=1` forbids downloads.

    Args:
        name: the bundle's name, or a path to its folder.
        download: ask the zoo, too.

    Raises:
        BundleNotFoundError: with every place that was searched, and how to get the bundle.
        ZooError: if the zoo has it, and what came is not what its index lists.
    """
    found, searched = local_bundle(name)
    if found is not None:
        return found
    zoo = "not asked"
    if download and BUNDLE_NAME.fullmatch(str(name)):
        try:
            return download_bundle(str(name))
        except ZooUnavailableError as error:
            zoo = str(error)
    looked = "\n".join(f"  {folder.absolute()}" for folder in searched)
    raise BundleNotFoundError(
        f"bundle {str(name)!r} was not found (a bundle is a folder with `configs/`). Looked at:\n{looked}\n"
        f"Model zoo: {zoo}\n"
        "Get it with the repository (its `bundles/` folder), or set MRG_BUNDLES to the folder that holds your "
        "bundles, or pass the bundle's path."
    )
