"""Where bundles lie: in `MRG_BUNDLES`, `./bundles`, beside the bundle one is in, and the user's cache."""

from __future__ import annotations

import functools
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from monai_retina_gen.errors import WeightsError


def user_cache() -> Path:
    """Folder of downloaded bundles: `MRG_CACHE`, or `monai_retina_gen/bundles` in the user's cache folder.

    Where there is no home directory: a temporary folder of this process, and a warning, once.
    """
    if named := os.environ.get("MRG_CACHE"):
        return Path(named).expanduser()
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no HOME, and the user is not known to the system: many containers
        return _temporary_cache()
    cache = base / "monai_retina_gen" / "bundles"
    standing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return cache if standing == cache or os.access(standing, os.W_OK) else _temporary_cache()


@functools.cache
def _temporary_cache() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="monai_retina_gen_"))
    warnings.warn(
        f"no home directory that can be written: downloaded bundles lie in {folder} and are fetched anew by the next "
        "process; set MRG_CACHE to a folder that stays",
        UserWarning,
        stacklevel=3,
    )
    return folder


def bundle_search_path() -> list[Path]:
    """Folders that are searched for a bundle by name, in order. `MRG_BUNDLES` may list several, as `PATH` does.

    MONAI's bundle commands run inside a bundle's folder: there, the bundles beside it are searched as well.
    """
    named = [Path(p) for p in os.environ.get("MRG_BUNDLES", "").split(os.pathsep) if p]
    beside = [Path.cwd().parent] if Path("configs", "metadata.json").is_file() else []
    return [*named, Path("bundles"), *beside, user_cache()]


def local_bundle(name: str | os.PathLike[str]) -> tuple[Path | None, list[Path]]:
    """The folder of a bundle on this machine, or `None`, and every place that was searched."""
    candidates = [Path(name)]
    if len(Path(name).parts) == 1:
        candidates += [folder / name for folder in bundle_search_path()]
    found = next((folder for folder in candidates if (folder / "configs").is_dir()), None)
    return (found.resolve() if found else None), candidates


def read_metadata(bundle: Path) -> dict[str, Any]:
    """`configs/metadata.json` of a bundle; empty where there is none."""
    path = bundle / "configs" / "metadata.json"
    if not path.is_file():
        return {}
    try:
        metadata: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path} is not valid JSON: {error}") from error
    return metadata


def pinned_sha256(bundle: Path, checkpoint: str) -> str | None:
    """Hash that the bundle's metadata pins for `checkpoint` (path inside the bundle), or `None` where it pins none."""
    pins = read_metadata(bundle).get("weights", {})
    return pins.get(checkpoint, {}).get("sha256")
