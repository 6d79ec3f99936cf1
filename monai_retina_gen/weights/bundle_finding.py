"""Finding a bundle by path or name; by name it is downloaded from the model zoo, last."""

from __future__ import annotations

import os
from pathlib import Path

from monai_retina_gen.errors import BundleNotFoundError, ZooUnavailableError
from monai_retina_gen.weights.bundle_paths import local_bundle
from monai_retina_gen.weights.zoo_download import download_bundle
from monai_retina_gen.weights.zoo_index import BUNDLE_NAME


def find_bundle(name: str | os.PathLike[str], *, download: bool = True) -> Path:
    """Folder of a bundle: by path, then in `MRG_BUNDLES`, `./bundles`, beside the bundle one is in, the user's cache.

    One that is in none of them is installed in the cache from the model zoo, if one is known (`MRG_ZOO`, a zoo in the
    cache, the public zoo); what is downloaded from where is logged. `MRG_OFFLINE=1` forbids downloads.

    Args:
        name: the bundle's name, or a path to its folder.
        download: ask the zoo, too.

    Returns:
        The folder, which holds `configs/`.

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
