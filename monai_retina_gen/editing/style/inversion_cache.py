"""Inverted photographs kept by their content: in memory up to a limit, and in a folder where one is given."""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.data.atomic_file import atomic_path
from monai_retina_gen.editing.edit_cache import EditCache
from monai_retina_gen.editing.style.inversion import Inversion, Inverter

__all__ = ["CachedInverter", "InversionCache", "InvertedPhotograph"]

logger = logging.getLogger(__name__)
FIELDS = ("styles", "image", "distance", "mirrored")


@dataclass
class InvertedPhotograph:
    """A photograph in the style space, and what edits of it need again.

    Args:
        styles: `(K,)`.
        image: `(3, S, S)` in [0, 1], the generator's unedited image.
        distance: of the photograph from it.
        mirrored: the styles make the mirror image of `image`.
        masks: soft masks of the photograph and of `image`, where a segmenter knows their size.
        features: outputs of layers, by the layer that reads them.
        detail: `(C, h, h)`, see `Inversion`.
    """

    styles: Tensor
    image: Tensor
    distance: float
    mirrored: bool = False
    masks: list[Mapping[str, Tensor]] = field(default_factory=list)
    features: dict[int, Tensor] = field(default_factory=dict)
    detail: Tensor | None = None

    @classmethod
    def rows(cls, found: Inversion) -> list[InvertedPhotograph]:
        """The photographs of an inversion one by one; a GPU is waited for once."""
        mirrored = torch.zeros_like(found.distance) if found.mirrored is None else found.mirrored.to(found.distance)
        numbers = torch.stack([found.distance, mirrored]).detach().T.tolist()
        parts = zip(found.styles.detach(), found.image.detach(), numbers, strict=True)
        details = [None] * len(numbers) if found.detail is None else [row.clone() for row in found.detail.detach()]
        rows = zip(parts, details, strict=True)
        return [cls(s, image, distance, side > 0, detail=own) for (s, image, (distance, side)), own in rows]

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        maps = [mask for each in self.masks for mask in each.values()]
        kept = (
            self.styles,
            self.image,
            *maps,
            *self.features.values(),
            *([] if self.detail is None else [self.detail]),
        )
        return sum(x.nbytes for x in kept)


class InversionCache(EditCache[InvertedPhotograph]):
    """Photographs that were inverted before: an `EditCache`, with a folder behind it where one is given.

    In a folder each has one `.npz` file of plain arrays, written atomically and named by its key: other weights, other
    settings or a changed photograph never meet an old entry. A damaged file counts as missing, with a line in the log.

    Args:
        megabytes: of memory for those used last; 0 keeps nothing there.
        folder: made where it is missing; several processes may share it. Masks and features are not written.
        identity: see `EditCache`.
    """

    def __init__(
        self,
        megabytes: float = 256,
        *,
        folder: str | os.PathLike[str] | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(megabytes, identity=identity)
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> InvertedPhotograph | None:
        """What is kept under `key`, or `None`."""
        found = super().get(key)
        return _read(self.path(key)) if found is None and self.folder is not None else found

    def put(self, key: str, entry: InvertedPhotograph) -> None:
        """Keep it."""
        if self.folder is not None:
            _write(self.path(key), entry)
        super().put(key, entry)

    def path(self, key: str) -> Path:
        """Where an entry lies in the folder; `ValueError` without one."""
        if self.folder is None:
            raise ValueError("this cache has no folder: give folder=...")
        return self.folder / f"{key}.npz"

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "folder": self.folder}


class CachedInverter:
    """An inverter that looks into a cache first.

    Args:
        inverter: finds what is not there yet.
        folder: of the cache.
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
        self.inverter = inverter
        self.cache = InversionCache(0, folder=folder, identity=identity)

    def __call__(self, images: Tensor, grades: Tensor) -> Inversion:
        """Invert `(B, 3, S, S)` in [0, 1] with grades `(B,)`; equal photographs are computed once."""

        def invert(missing: Tensor, of: Tensor) -> list[InvertedPhotograph]:
            return InvertedPhotograph.rows(self.inverter(missing, of))

        found, device = self.cache.entries(images, grades, invert), images.device
        styles, made = (torch.stack([getattr(each, n).to(device) for each in found]) for n in ("styles", "image"))
        distance = torch.tensor([each.distance for each in found], dtype=torch.float32, device=device)
        maps = [each.detail.to(device) for each in found if each.detail is not None]
        mirrored = torch.tensor([each.mirrored for each in found], device=device)
        return Inversion(styles, made, distance, mirrored, torch.stack(maps) if maps else None)


def _write(path: Path, entry: InvertedPhotograph) -> None:
    fields = FIELDS if entry.detail is None else (*FIELDS, "detail")
    kept = {name: torch.as_tensor(getattr(entry, name)).float().cpu().numpy() for name in fields}
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, sha256=np.frombuffer(_digest(kept), dtype=np.uint8), **kept)  # type: ignore[arg-type]


def _read(path: Path) -> InvertedPhotograph | None:
    """An entry, or `None` where there is none, or a damaged one."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            kept = {name: file[name] for name in (*FIELDS, *({"detail"} & set(file.files)))}
            problem = "" if file["sha256"].tobytes() == _digest(kept) else "its digest differs"
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        problem = str(error)
    if problem:
        logger.warning("cached inversion %s is damaged (%s): computed again", path, problem)
        return None
    styles, image = (torch.from_numpy(np.array(kept[name])) for name in ("styles", "image"))
    detail = torch.from_numpy(np.array(kept["detail"])) if "detail" in kept else None
    return InvertedPhotograph(styles, image, float(kept["distance"]), bool(kept["mirrored"]), detail=detail)


def _digest(arrays: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.digest()
