"""Images that replace photographs, in files: made once, for every process and every start of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.data.atomic_file import atomic_path

from .alternative_images import Alternatives, Bank, LesionChange

__all__ = ["read_bank", "read_made", "write_bank", "write_made"]


def write_made(made: Alternatives, path: Path) -> None:
    """Write as `.npz`, uncompressed and without pickles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        "images": made.images.numpy(),
        "grades": np.array(made.grades, np.int64),
        "rows": torch.cat(made.rows).numpy(),
        "lengths": np.array([len(rows) for rows in made.rows], np.int64),
        "tried": np.array(made.tried),
        "sources": np.array(made.sources, np.int64),
        "seeds": np.array([change.seed for change in made.changes], np.int64),
    }
    for side in ("own", "wanted"):
        arrays |= _sparse([getattr(change, side) for change in made.changes], side)
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def read_made(path: Path) -> Alternatives:
    """Read what `write_made` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    rows = torch.from_numpy(arrays["rows"]).split(arrays["lengths"].tolist())
    size = arrays["images"].shape[-1]
    sides = [_dense(arrays, side, (4, size, size)) for side in ("own", "wanted")]
    sources, seeds = arrays["sources"].tolist(), arrays["seeds"].tolist()
    changes = [LesionChange(*each) for each in zip(sources if seeds else [], seeds, *sides, strict=True)]
    images, grades = torch.from_numpy(arrays["images"]), arrays["grades"].tolist()
    return Alternatives(images, grades, list(rows), int(arrays["tried"]), changes, sources)


def write_bank(bank: Bank, path: Path) -> None:
    """Write images at the study's size, which the folder of their files has at their own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, images=bank.images.numpy(), grades=np.array(bank.grades, np.int64))


def read_bank(path: Path) -> Bank:
    """Read what `write_bank` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return Bank(torch.from_numpy(stored["images"]), stored["grades"].tolist())


def _sparse(planes: Sequence[Tensor], name: str) -> dict[str, Any]:
    each = [plane.coalesce() for plane in planes]
    index = [plane.indices().numpy() for plane in each] or [np.zeros((3, 0))]
    values = [plane.values().numpy() for plane in each] or [np.zeros(0)]
    return {
        f"{name}_index": np.concatenate(index, 1).astype(np.int16),
        f"{name}_values": np.concatenate(values).astype(np.uint8),
        f"{name}_counts": np.array([len(plane.values()) for plane in each], np.int64),
    }


def _dense(arrays: dict[str, Any], name: str, shape: tuple[int, ...]) -> list[Tensor]:
    ends = np.cumsum(arrays[f"{name}_counts"])
    parts = zip(
        np.split(arrays[f"{name}_index"], ends[:-1], axis=1),
        np.split(arrays[f"{name}_values"], ends[:-1]),
        strict=True,
    )
    if not len(ends):
        return []
    return [
        torch.sparse_coo_tensor(torch.from_numpy(i.astype(np.int64)), torch.from_numpy(v), shape, check_invariants=True)
        for i, v in parts
    ]
