"""Folders of generated images: a manifest with records and checksums, and the dataset that reads them back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from monai_retina_gen.data.atomic_file import write_atomically
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.errors import DatalistError

__all__ = ["MANIFEST", "SyntheticDataset", "read_manifest", "verify_file", "write_json", "write_manifest"]

MANIFEST = "manifest.json"


def write_json(value: Any, path: str | os.PathLike[str], *, sort_keys: bool = True) -> None:
    """Write JSON atomically; with sorted keys equal values give equal bytes."""
    write_atomically(path, json.dumps(value, indent=4, sort_keys=sort_keys) + "\n")


def write_manifest(folder: Path, entries: Iterable[tuple[str, GenerationRecord]]) -> None:
    """Write `manifest.json`: for every image its path in the folder, sha256 of its bytes, grade and record."""
    images = [
        {"image": name, "grade": record.grade, "sha256": _sha256(folder / name), "record": asdict(record)}
        for name, record in entries
    ]
    write_json({"format": 1, "note": "generated images, not photographs", "images": images}, folder / MANIFEST)


def read_manifest(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Entries of a folder's manifest, with `image` as an absolute path.

    Raises:
        DatalistError: if there is no manifest, it cannot be read, or a path leaves the folder.
    """
    root = Path(folder).resolve()
    path = root / MANIFEST
    if not path.is_file():
        raise DatalistError(f"{root} has no {MANIFEST}: make it with `python -m monai_retina_gen expand --out {root}`")
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["images"]
        found = [{**e, "image": str((root / e["image"]).resolve()), "grade": int(e["grade"])} for e in entries]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DatalistError(f"{path} is not a manifest of generated images: {error!r}") from error
    outside = [e["image"] for e in found if not Path(e["image"]).is_relative_to(root)]
    if outside:
        raise DatalistError(f"{path} names files outside its folder: {outside[:3]}")
    return found


def verify_file(entry: dict[str, Any]) -> None:
    """Raise `DatalistError` where an entry's file is missing or its bytes have changed."""
    path = Path(entry["image"])
    if not path.is_file():
        raise DatalistError(f"{path} is in the manifest and not on disk; run `expand` again")
    if _sha256(path) != entry["sha256"]:
        raise DatalistError(
            f"{path} was changed after it was generated (sha256 differs); delete it and run `expand` again"
        )


class SyntheticDataset(Dataset[Any]):
    """Items of a folder that `expand` made: `{"image": path, "grade": int, "generated": record as JSON}`.

    Args:
        folder: the folder with its manifest.
        transform: applied to each item, as MONAI's `Dataset` does.

    Raises:
        DatalistError: if the manifest is missing or any image was changed or removed.
    """

    def __init__(self, folder: str | os.PathLike[str], transform: Callable[[Any], Any] | None = None) -> None:
        self.transform, self.data = transform, []
        for entry in read_manifest(folder):
            verify_file(entry)
            record = GenerationRecord(**entry["record"]).to_json()
            self.data.append({"image": entry["image"], "grade": entry["grade"], "generated": record})

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        item = dict(self.data[index])
        return item if self.transform is None else self.transform(item)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
