"""Finding bundles: by path, then in `MRG_BUNDLES`, `./bundles`, beside the bundle one is in, and the user's cache."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from monai_retina_gen.errors import BundleNotFoundError, WeightsError

__all__ = ["bundle_search_path", "find_bundle", "pinned_sha256", "read_metadata", "user_cache"]


def user_cache() -> Path:
    """Folder of downloaded bundles: `MRG_CACHE`, or `monai_retina_gen/bundles` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MRG_CACHE") or Path(base) / "monai_retina_gen" / "bundles")


def bundle_search_path() -> list[Path]:
    """Folders that are searched for a bundle by name, in order. `MRG_BUNDLES` may list several, as `PATH` does.

    MONAI's bundle commands run inside a bundle's folder: there, the bundles beside it are searched as well.

    Example:
        >>> Path("bundles") in bundle_search_path()
        True
    """
    named = [Path(p) for p in os.environ.get("MRG_BUNDLES", "").split(os.pathsep) if p]
    beside = [Path.cwd().parent] if Path("configs", "metadata.json").is_file() else []
    return [*named, Path("bundles"), *beside, user_cache()]


def find_bundle(name: str | os.PathLike[str]) -> Path:
    """Folder of a bundle.

    Args:
        name: the bundle's name, or a path to its folder.

    Returns:
        The folder, which holds `configs/`.

    Raises:
        BundleNotFoundError: with every place that was searched, and how to get the bundle.
    """
    candidates = [Path(name)]
    if len(Path(name).parts) == 1:
        candidates += [folder / name for folder in bundle_search_path()]
    for folder in candidates:
        if (folder / "configs").is_dir():
            return folder.resolve()
    looked = "\n".join(f"  {folder.absolute()}" for folder in candidates)
    raise BundleNotFoundError(
        f"bundle {str(name)!r} was not found (a bundle is a folder with `configs/`). Looked at:\n{looked}\n"
        "Get it with the repository (its `bundles/` folder), or set MRG_BUNDLES to the folder that holds your "
        "bundles, or pass the bundle's path."
    )


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
