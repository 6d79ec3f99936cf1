"""Inversions kept on disk by the content of photograph, weights and settings, so that each is computed once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.data.atomic_file import atomic_path
from monai_retina_gen.editing.style.inversion import Inversion, Inverter

__all__ = ["CachedInverter", "photograph_key"]

logger = logging.getLogger(__name__)
FIELDS = ("styles", "image", "distance", "mirrored")


def photograph_key(image: Tensor, grade: int, identity: Mapping[str, Any]) -> str:
    """sha256 of a photograph's pixels and shape, its grade, and what else an inversion depends on.

    Args:
        image: `(3, S, S)`.
        grade: of the photograph.
        identity: weights' sha256 and settings, plain JSON values.

    Examples:
        >>> one, two = torch.zeros(3, 4, 4), torch.ones(3, 4, 4)
        >>> key = photograph_key(one, 0, {})
        >>> key == photograph_key(one.clone(), 0, {}), key == photograph_key(two, 0, {})
        (True, False)
    """
    pixels = np.ascontiguousarray(image.detach().cpu().numpy(), dtype="<f4")
    head = json.dumps({"shape": pixels.shape, "grade": int(grade), **identity}, sort_keys=True)
    return hashlib.sha256(head.encode() + b"\0" + pixels.tobytes()).hexdigest()


class CachedInverter:
    """An inverter whose results are kept in a folder.

    Each photograph has one `.npz` file of plain arrays, written atomically and named by its key: other weights, other
    settings or a changed photograph never meet an old entry. A damaged file is computed again, with a line in the log.

    Args:
        inverter: finds what is not there yet.
        folder: made where it is missing; several processes may share it.
        identity: what an inversion depends on beside the photograph: the sha256 of the weights and the settings.

    Examples:
        >>> import tempfile
        >>> calls = []
        >>> def inverter(images, grades):
        ...     calls.append(len(images))
        ...     return Inversion(images.flatten(1)[:, :4], images, torch.zeros(len(images)))
        >>> cached = CachedInverter(inverter, tempfile.mkdtemp(), identity={"weights": "0"})
        >>> eyes = torch.rand(3, 3, 8, 8)
        >>> _ = cached(eyes[:2], torch.zeros(2)), cached(eyes, torch.zeros(3))
        >>> calls
        [2, 1]
    """

    def __init__(self, inverter: Inverter, folder: str | os.PathLike[str], *, identity: Mapping[str, Any]) -> None:
        self.inverter, self.folder, self.identity = inverter, Path(folder), dict(identity)
        self.folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, images: Tensor, grades: Tensor) -> Inversion:
        """Invert `(B, 3, S, S)` in [0, 1] with grades `(B,)`; equal photographs are computed once."""
        keys = [self.key(x, int(g)) for x, g in zip(images, grades, strict=True)]
        found = {key: self.read(key) for key in dict.fromkeys(keys)}
        missing = {key: keys.index(key) for key, entry in found.items() if entry is None}
        if missing:
            rows = list(missing.values())
            made = self.inverter(images[rows], grades[rows])
            for i, key in enumerate(missing):
                found[key] = {name: value[i].detach().cpu() for name, value in _fields(made).items()}
                self.write(key, found[key])
        entries = [entry for key in keys if (entry := found[key]) is not None]
        whole = {name: torch.stack([entry[name] for entry in entries]).to(images.device) for name in FIELDS}
        return Inversion(**{**whole, "mirrored": whole["mirrored"] > 0})

    def key(self, image: Tensor, grade: int) -> str:
        """Key of a photograph under this identity."""
        return photograph_key(image, grade, self.identity)

    def path(self, key: str) -> Path:
        """Where an entry lies."""
        return self.folder / f"{key}.npz"

    def write(self, key: str, entry: Mapping[str, Tensor] | None) -> None:
        """Keep an entry."""
        arrays = {name: value.float().numpy() for name, value in (entry or {}).items()}
        digest = _digest(arrays)
        with atomic_path(self.path(key)) as part, part.open("wb") as file:
            np.savez(file, sha256=np.frombuffer(digest, dtype=np.uint8), **arrays)  # type: ignore[arg-type]

    def read(self, key: str) -> dict[str, Tensor] | None:
        """An entry, or `None` where there is none, or a damaged one."""
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in FIELDS}
                whole = file["sha256"].tobytes() == _digest(arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("cached inversion %s is damaged (%s): computed again", path, error)
            return None
        if not whole:
            logger.warning("cached inversion %s is damaged (its digest differs): computed again", path)
            return None
        return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}


def _fields(found: Inversion) -> dict[str, Tensor]:
    """What is kept of an inversion, all of it tensors; `mirrored` as 0 and 1."""
    mirrored = torch.zeros_like(found.distance) if found.mirrored is None else found.mirrored
    return {"styles": found.styles, "image": found.image, "distance": found.distance, "mirrored": mirrored}


def _digest(arrays: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.digest()
