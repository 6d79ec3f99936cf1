"""IDRiD as IEEE DataPort distributes it, with copies of one photograph found and a split without leaks.

The official splits of the grading and the segmentation part overlap, and photographs appear more than once,
some with different grades; `splits/idrid.csv` (attribution in `splits/idrid.txt`) says which files are one
photograph.
"""

from __future__ import annotations

import os
from importlib.resources import as_file, files
from pathlib import Path

from monai_retina_gen.data.datalist_format import Datalist, Item, Problems, existing_folder, make_datalist
from monai_retina_gen.data.prepared_sets import IDRID, IDRID_LICENCE, SECTION_OF_SPLIT, block_of, note_missing
from monai_retina_gen.data.tables import image_files, read_table, warn_without_row
from monai_retina_gen.errors import DatalistError

LAYOUT = "idrid_official: 'A. Segmentation/' and 'B. Disease Grading/' (or one of them) as IEEE DataPort has them"
PARTS = {"segmentation": "A. Segmentation", "grading": "B. Disease Grading"}
SET_FOLDERS = {"train": "a. Training Set", "test": "b. Testing Set"}
TABLES = {
    "train": "a. IDRiD_Disease Grading_Training Labels.csv",
    "test": "b. IDRiD_Disease Grading_Testing Labels.csv",
}
MASK_FOLDERS = {
    "ma": "1. Microaneurysms",
    "he": "2. Haemorrhages",
    "ex": "3. Hard Exudates",
    "se": "4. Soft Exudates",
    "od": "5. Optic Disc",
}
Row = dict[str, str]


def idrid_official_datalist(root: str | os.PathLike[str], *, canonical_only: bool = True) -> Datalist:
    """Read IDRiD's own folders with the leak-free split by photograph in place of the official one.

    Items are those of `idrid_datalist`, without `fov`. With only one of the two parts at hand, a photograph whose
    canonical file lies in the other keeps its first file. `DatalistError` for neither part, missing files, or official
    labels that are not those which the shipped list was made from; a warning for photographs that the list lacks.
    """
    folder = existing_folder(root, "IDRiD")
    parts = [part for part, name in PARTS.items() if (folder / name).is_dir()]
    if not parts:
        raise DatalistError(f"{folder}: neither {PARTS['segmentation']!r} nor {PARTS['grading']!r} is in it.")
    rows = [row for row in shipped_rows() if row["subset"] in parts]
    items = [_item(folder, row) for row in rows]
    _check(folder, rows, items)
    chosen = _canonical(rows) if canonical_only else range(len(rows))
    sections: dict[str, list[Item]] = {section: [] for section in SECTION_OF_SPLIT.values()}
    for index in chosen:
        sections[SECTION_OF_SPLIT[rows[index]["split"]]].append(items[index])
    return make_datalist(
        sections, name="idrid_official", description=IDRID, licence=IDRID_LICENCE, patients_known=False
    )


def is_idrid_official(root: Path) -> bool:
    """Whether `root` has a part of IDRiD as IEEE DataPort distributes it."""
    return any((root / name).is_dir() for name in PARTS.values())


def shipped_rows() -> list[Row]:
    """Rows of the list that is shipped with the package."""
    with as_file(files("monai_retina_gen.data") / "splits" / "idrid.csv") as path:
        return read_table(path)


def _images(folder: Path, row: Row) -> Path:
    return folder / PARTS[row["subset"]] / "1. Original Images" / SET_FOLDERS[row["official_split"]]


def _item(folder: Path, row: Row) -> Item:
    item: Item = {"image": str(_images(folder, row) / f"{row['orig_id']}.jpg"), "group": row["group"]}
    item |= block_of(row["group"])
    masks = folder / PARTS["segmentation"] / "2. All Segmentation Groundtruths" / SET_FOLDERS[row["official_split"]]
    for key in row["masks"].split():
        item[key] = str(masks / MASK_FOLDERS[key] / f"{row['orig_id']}_{key.upper()}.tif")
    return {**item, **{key: int(row[key]) for key in ("grade", "dme") if row[key]}}


def _canonical(rows: list[Row]) -> list[int]:
    first: dict[str, int] = {}
    for index, row in enumerate(rows):
        if row["canonical"] == "1" or row["group"] not in first:
            first[row["group"]] = index
    return sorted(first.values())


def _check(folder: Path, rows: list[Row], items: list[Item]) -> None:
    problems = Problems(str(folder))
    note_missing(items, problems)
    problems.raise_any("Extract the archive again, or remove the whole part.")
    _check_labels(folder, rows)
    present = {path for images in {_images(folder, row) for row in rows} for path in image_files(images).values()}
    warn_without_row(present - {item["image"] for item in items}, "the shipped list splits/idrid.csv")


def _check_labels(folder: Path, rows: list[Row]) -> None:
    columns = {"grade": "Retinopathy grade", "dme": "Risk of macular edema"}
    problems = Problems(str(folder))
    for split in sorted({row["official_split"] for row in rows if row["subset"] == "grading"}):
        table = folder / PARTS["grading"] / "2. Groundtruths" / TABLES[split]
        official = {row["Image name"]: row for row in read_table(table, ("Image name", *columns.values()))}
        for row in (row for row in rows if row["subset"] == "grading" and row["official_split"] == split):
            labels = official.get(row["orig_id"], {})
            if not labels:
                problems.add(f"image without a row in {table.name}", row["orig_id"])
            for key, column in columns.items():
                if labels and row[key] and labels[column] != row[key]:
                    problems.add(f"{column} is not that of the shipped list", f"{row['orig_id']}: {labels[column]!r}")
    problems.raise_any("This is not the release that splits/idrid.csv was made from: fetch it from IEEE DataPort.")
