"""Folders of generated images: a manifest with records and checksums, and the dataset that reads them back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from monai_retina_gen.data.files import sha256_file, write_json
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.errors import DatalistError

MANIFEST = "manifest.json"


def write_manifest(
    folder: Path, entries: Iterable[tuple[str, GenerationRecord]], masks: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write `manifest.json`: for every image its path in the folder, sha256 of its bytes, grade and record.

    `masks` are paths of masks by image and mask key, where there are any.
    """
    images = []
    for name, record in entries:
        entry = {"image": name, "grade": record.grade, "sha256": sha256_file(folder / name), "record": asdict(record)}
        files = (masks or {}).get(name, {})
        if files:
            entry["masks"] = {k: {"image": file, "sha256": sha256_file(folder / file)} for k, file in files.items()}
        images.append(entry)
    write_json({"format": 1, "note": "generated images, not photographs", "images": images}, folder / MANIFEST)


def read_manifest(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Entries of a folder's manifest, with `image` as an absolute path.

    `DatalistError` if there is no manifest, it cannot be read, or a path leaves the folder.
    """
    root = Path(folder).resolve()
    path = root / MANIFEST
    if not path.is_file():
        raise DatalistError(f"{root} has no {MANIFEST}: make it with `monai-retina-gen expand --out {root}`")
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["images"]
        found = [_absolute(entry, root) for entry in entries]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DatalistError(f"{path} is not a manifest of generated images: {error!r}") from error
    files = [file["image"] for entry in found for file in (entry, *entry.get("masks", {}).values())]
    outside = [file for file in files if not Path(file).is_relative_to(root)]
    if outside:
        raise DatalistError(f"{path} names files outside its folder: {outside[:3]}")
    return found


def _absolute(entry: dict[str, Any], root: Path) -> dict[str, Any]:
    found = {**entry, "image": str((root / entry["image"]).resolve()), "grade": int(entry["grade"])}
    if "masks" in entry:
        masks: dict[str, Any] = entry["masks"]
        found["masks"] = {k: {**m, "image": str((root / m["image"]).resolve())} for k, m in masks.items()}
    return found


def verify_file(entry: dict[str, Any]) -> None:
    """Raise `DatalistError` where an entry's file is missing or its bytes have changed."""
    path = Path(entry["image"])
    if not path.is_file():
        raise DatalistError(f"{path} is in the manifest and not on disk; run `expand` again")
    if sha256_file(path) != entry["sha256"]:
        raise DatalistError(
            f"{path} was changed after it was generated (sha256 differs); delete it and run `expand` again"
        )


class SyntheticDataset(Dataset[Any]):
    """Items of a folder that `expand` made: `{"image": path, "grade": int, "generated": record as JSON}`.

    Images that were made from masks have these too, as paths under their mask keys. `transform` is applied to each
    item. `DatalistError` if the manifest is missing or any image was changed or removed.
    """

    def __init__(self, folder: str | os.PathLike[str], transform: Callable[[Any], Any] | None = None) -> None:
        self.transform, self.data = transform, []
        for entry in read_manifest(folder):
            masks = entry.get("masks", {})
            for file in (entry, *masks.values()):
                verify_file(file)
            record = GenerationRecord(**entry["record"]).to_json()
            item = {"image": entry["image"], "grade": entry["grade"], "generated": record}
            self.data.append({**item, **{key: file["image"] for key, file in masks.items()}})

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        item = dict(self.data[index])
        return item if self.transform is None else self.transform(item)


def with_versions(items: Sequence[dict[str, Any]], file: str | os.PathLike[str] | None) -> list[dict[str, Any]]:
    """Items with their painted versions under `versions`; none where `file` is None.

    `file` is a JSON list of `{"image": name of a photograph's file, "versions": [{"image": path, "grade": 0-4,
    "lesion": kind that was painted, "" where all were erased}]}`; paths are relative to its folder. `DatalistError` for
    other content.
    """
    if file is None:
        return [{**item, "versions": []} for item in items]
    folder = Path(file).parent
    try:
        rows = {
            row["image"]: [dict(each) for each in row["versions"]]
            for row in json.loads(Path(file).read_text(encoding="utf-8"))
        }
        for each in (version for versions in rows.values() for version in versions):
            each["image"], each["grade"] = str(folder / each["image"]), int(each["grade"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatalistError(f"{os.fspath(file)} is no list of painted versions: {error!r}") from error
    return [{**item, "versions": rows.get(Path(str(item["image"])).name, [])} for item in items]
