"""Weights that their authors publish under a name that ends in the start of their sha256, as PyTorch's hub does."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

import torch

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights.state_files import sha256_file


def hub_file(url: str, *, what: str, otherwise: str) -> Path:
    """The file in torch's cache, downloaded where it is not there, with the hash that its name asks for.

    Args:
        url: as `https://.../tf_efficientnet_lite0-0aa007d2.pth`.
        what: what needs it, for messages.
        otherwise: what else one can do, for the message where it cannot be had.

    Raises:
        WeightsError: if it cannot be downloaded, or its bytes have another hash.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except OSError as error:
            raise WeightsError(
                f"{what}: {url} could not be downloaded ({error}). Download it on a machine with a network and put "
                f"it at {path}; or {otherwise}."
            ) from error
    prefix, found = path.stem.rsplit("-", 1)[1], sha256_file(path)
    if not found.startswith(prefix):
        raise WeightsError(f"{path} has sha256 {found}, but its name asks for {prefix}...: delete it and start again")
    return path
