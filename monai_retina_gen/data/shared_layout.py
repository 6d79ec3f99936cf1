"""Reads the prepared layout of IDRiD, HRF and CHASE_DB1: `labels.csv`, `splits.csv` and one folder per size.

Each size folder (`512/`, `256/`) holds `images/`, `masks/<key>/` (0 or 255) and `soft_masks/<key>/` (0 to
255, the share of the pixel which the full-size mask covers). Paths in both tables are relative to the size
folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from monai_retina_gen.data.datalist_format import MASK_KEYS, SECTIONS, Item, existing_folder
from monai_retina_gen.data.problems import Problems
from monai_retina_gen.data.tables import image_files, note_repeated, read_table, warn_without_row
from monai_retina_gen.errors import DatalistError

SECTION_OF_SPLIT = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Photograph:
    """One row of `labels.csv` and `splits.csv` with the item made of it (image, group, masks)."""

    section: str
    item: Item
    labels: dict[str, str]
    splits: dict[str, str]


def is_shared_layout(root: Path, source: str) -> bool:
    """Whether `root` has the prepared layout of the data set that its tables call `source`."""
    if not ((root / "labels.csv").is_file() and (root / "splits.csv").is_file()):
        return False
    rows = read_table(root / "labels.csv")
    return bool(rows) and rows[0].get("source") == source


def read_shared_layout(
    root: str | os.PathLike[str], *, size: int, soft_masks: bool, label_columns: tuple[str, ...] = ()
) -> list[Photograph]:
    """Read both tables, and check that they list the same photographs once and that every file is there."""
    folder = existing_folder(root, "Prepared data set")
    images = folder / str(size)
    if not images.is_dir():
        sizes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name.isdigit())
        raise DatalistError(f"size={size}: {images} does not exist; {folder} has the sizes {sizes}.")
    labels = read_table(folder / "labels.csv", ("image", *label_columns))
    splits = {row["image"]: row for row in _read_splits(folder, [row["image"] for row in labels])}
    photographs = [_photograph(images, row, splits[row["image"]], soft_masks) for row in labels]
    _check_files(folder, images, photographs)
    return photographs


def _read_splits(folder: Path, labelled: list[str]) -> list[dict[str, str]]:
    rows = read_table(folder / "splits.csv", ("image", "group", "split"))
    problems = Problems(str(folder))
    note_repeated(labelled, "image twice in labels.csv", problems)
    note_repeated([row["image"] for row in rows], "image twice in splits.csv", problems)
    for name in sorted(set(labelled) ^ {row["image"] for row in rows}):
        problems.add("image in only one of labels.csv and splits.csv", name)
    for row in rows:
        if row["split"] not in SECTION_OF_SPLIT:
            problems.add("split is not train, val or test", f"{row['image']}: {row['split']!r}")
    problems.raise_any("Both tables need one row per image.")
    return rows


def _photograph(images: Path, labels: dict[str, str], splits: dict[str, str], soft_masks: bool) -> Photograph:
    item: Item = {"image": os.path.join(images, labels["image"]), "group": splits["group"]}
    for key in MASK_KEYS:
        path = labels.get(f"mask_{key}", "")
        if path:
            # the field of view is computed from the image and has no soft form
            item[key] = os.path.join(images, f"soft_{path}" if soft_masks and key != "fov" else path)
    return Photograph(SECTION_OF_SPLIT[splits["split"]], item, labels, splits)


def _check_files(folder: Path, images: Path, photographs: list[Photograph]) -> None:
    problems = Problems(str(folder))
    for photograph in photographs:
        for key in ("image", *MASK_KEYS):
            if key in photograph.item and not os.path.isfile(photograph.item[key]):
                problems.add("missing file", photograph.item[key])
    problems.raise_any("Fetch the data set again, or remove the rows from both tables.")
    listed = {os.path.basename(photograph.item["image"]) for photograph in photographs}
    warn_without_row(set(image_files(images / "images")) - listed, folder / "labels.csv")


def by_section(photographs: list[Photograph]) -> dict[str, list[Item]]:
    """Items of the photographs by section."""
    return {section: [p.item for p in photographs if p.section == section] for section in SECTIONS}
