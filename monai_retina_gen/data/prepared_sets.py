"""IDRiD, HRF and CHASE_DB1 in the prepared layout: `labels.csv`, `splits.csv` and one folder per size.

Each size folder (`512/`, `256/`) holds `images/`, `masks/<key>/` (0 or 255) and `soft_masks/<key>/` (0 to 255, the
share of the pixel which the full-size mask covers). Paths in both tables are relative to the size folder.

IDRiD is also read as IEEE DataPort distributes it, with copies of one photograph found and a split without leaks: the
official splits of the grading and the segmentation part overlap, and photographs appear more than once, some with
different grades; `splits/idrid.csv` (attribution in `splits/idrid.txt`) says which files are one photograph.

Sources: IDRiD, Porwal et al., Data 2018, doi:10.3390/data3030025; HRF, Budai et al. 2013, doi:10.1155/2013/154860;
CHASE_DB1, Fraz et al. 2012, doi:10.1109/TBME.2012.2205687.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from monai_retina_gen.data.datalist_format import (
    MASK_KEYS,
    PATH_KEYS,
    Datalist,
    Item,
    Problems,
    existing_folder,
    image_files,
    make_datalist,
    note_repeated,
    read_table,
    warn_without_row,
)
from monai_retina_gen.data.grades import parse_grade
from monai_retina_gen.errors import DatalistError

SECTION_OF_SPLIT = {"train": "training", "val": "validation", "test": "test"}
IDRID_LICENCE = (
    "CC BY 4.0: IDRiD, (c) P. Porwal, S. Pachade and M. Kokare; Data 2018, 3(3), 25, doi:10.3390/data3030025"
)
IDRID = "Indian Diabetic Retinopathy Image Dataset, split by photograph, copies of one photograph together."
HRF_LICENCE = "CC BY 4.0: High-Resolution Fundus (HRF) Image Database, Budai et al. 2013, doi:10.1155/2013/154860"
CHASE_LICENCE = "CC BY 4.0: CHASE_DB1, Kingston University London; Fraz et al. 2012, doi:10.1109/TBME.2012.2205687"
EYES = {"L": "left", "R": "right"}
BLOCK = 8
"""Official numbers of IDRiD that new splits and folds keep together.

IDRiD names no patients, but its numbers tell: photographs k and k + 1 are among each other's five nearest in colour
five times as often as chance has it (5.8 % of them against 1.2 %), so some probably are two eyes of one patient.
"""


Row = dict[str, str]


def idrid_datalist(
    root: str | os.PathLike[str], *, size: int = 512, canonical_only: bool = True, soft_masks: bool = False
) -> Datalist:
    """Read IDRiD with its own leak-free split by photograph: 339, 62 and 130 canonical photographs.

    Items have `image`, `group`, `block` (eight neighbouring numbers, which new splits and folds keep together), `fov`,
    `grade` and `dme` (macular oedema risk 0-2) where the copies of a photograph agree on it, and `ma`, `he`, `ex`,
    `se`, `od` where there is such a mask. A photograph with lesion masks but without the key of one lesion normally
    does not show that lesion.

    Args:
        root: folder with `labels.csv`, `splits.csv` and the size folders.
        size: side of the images in pixels; the folder of that name is read (512 or 256).
        canonical_only: one file per photograph (531 of 597), the one with masks where there is one.
        soft_masks: masks with the covered share of each pixel (0 to 255), better for small lesions at 256.

    Raises:
        DatalistError: a missing or repeated file or row, or a grade outside 0-4.
    """
    photographs = _read(root, size, soft_masks, ("dme", "orig_id", "subset"))
    problems = Problems("IDRiD")
    oedema: dict[str, set[str]] = defaultdict(set)
    for item, labels, _ in photographs:
        oedema[item["group"]] |= {labels["dme"]} - {""}
    for item, _, splits in photographs:
        item |= block_of(item["group"])
        if grade := splits.get("grade", ""):
            item["grade"] = parse_grade(grade, item["image"], problems)
        if len(oedema[item["group"]]) == 1:
            item["dme"] = int(next(iter(oedema[item["group"]])))
    problems.raise_any("Correct splits.csv.")
    chosen = [(s["split"], item) for item, _, s in photographs if s.get("canonical") == "1" or not canonical_only]
    return _datalist(chosen, "idrid", IDRID, IDRID_LICENCE, patients_known=False)


def hrf_datalist(root: str | os.PathLike[str], *, size: int = 512, soft_masks: bool = False) -> Datalist:
    """Read HRF, 45 photographs: items have `image`, `group`, `vessel`, `fov` and `diagnosis`, and no grade.

    See `idrid_datalist`; `diagnosis` is `healthy`, `diabetic_retinopathy` or `glaucoma`.
    """
    photographs = _read(root, size, soft_masks, ("diagnosis",))
    found = [(splits["split"], {**item, "diagnosis": labels["diagnosis"]}) for item, labels, splits in photographs]
    description = "High-Resolution Fundus images with vessel masks, split by photograph."
    return _datalist(found, "hrf", description, HRF_LICENCE, patients_known=False)


def chasedb1_datalist(root: str | os.PathLike[str], *, size: int = 512, soft_masks: bool = False) -> Datalist:
    """Read CHASE_DB1: `image`, `group` (the child), `eye`, `vessel` and `vessel2` (of two observers) and `fov`.

    See `idrid_datalist`; there are no grades. The photographs show 30 degrees of children's eyes.
    """
    found, problems = [], Problems("CHASE_DB1")
    for item, labels, splits in _read(root, size, soft_masks, ("orig_id",)):
        side = labels["orig_id"][-1:]
        found.append((splits["split"], {**item, "eye": EYES.get(side)}))
        if side not in EYES:
            problems.add("orig_id that does not end with L or R", labels["orig_id"])
    problems.raise_any("Correct labels.csv.")
    description = "Children's eyes with vessel masks of two observers, split by child."
    return _datalist(found, "chasedb1", description, CHASE_LICENCE, patients_known=True)


PREPARED_SETS = {
    "idrid": ("IDRiD", idrid_datalist),
    "hrf": ("HRF", hrf_datalist),
    "chasedb1": ("CHASE_DB1", chasedb1_datalist),
}
"""By name: what the tables call the set, and its reader."""


def is_prepared(root: Path, source: str) -> bool:
    """Whether `root` has the prepared layout of the data set that its tables call `source`."""
    if not ((root / "labels.csv").is_file() and (root / "splits.csv").is_file()):
        return False
    rows = read_table(root / "labels.csv")
    return bool(rows) and rows[0].get("source") == source


def block_of(group: str) -> dict[str, str]:
    """Key `block` of a photograph of IDRiD, from its group `<official split>/IDRiD_<number>`; nothing for another.

    Examples:
        >>> block_of("train/IDRiD_008"), block_of("train/IDRiD_009"), block_of("mine")
        ({'block': 'train/001-008'}, {'block': 'train/009-016'}, {})
    """
    found = re.fullmatch(r"(.+)/IDRiD_(\d+)", group)
    if not found:
        return {}
    first = (int(found[2]) - 1) // BLOCK * BLOCK + 1
    return {"block": f"{found[1]}/{first:03}-{first + BLOCK - 1:03}"}


def _read(
    root: str | os.PathLike[str], size: int, soft_masks: bool, label_columns: tuple[str, ...]
) -> list[tuple[Item, Row, Row]]:
    """Photographs with their rows of `labels.csv` and `splits.csv`.

    Both tables must list the same photographs once, and every file must be there.
    """
    folder = existing_folder(root, "Prepared data set")
    images = folder / str(size)
    if not images.is_dir():
        sizes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name.isdigit())
        raise DatalistError(f"size={size}: {images} does not exist; {folder} has the sizes {sizes}.")
    labels = read_table(folder / "labels.csv", ("image", *label_columns))
    splits = {row["image"]: row for row in _read_splits(folder, [row["image"] for row in labels])}
    items = [_item(images, row, splits[row["image"]]["group"], soft_masks) for row in labels]
    problems = Problems(str(folder))
    note_missing(items, problems)
    problems.raise_any("Fetch the data set again, or remove the rows from both tables.")
    listed = {os.path.basename(item["image"]) for item in items}
    warn_without_row(set(image_files(images / "images")) - listed, folder / "labels.csv")
    return [(item, row, splits[row["image"]]) for item, row in zip(items, labels, strict=True)]


def _read_splits(folder: Path, labelled: list[str]) -> list[Row]:
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


def _item(images: Path, labels: Row, group: str, soft_masks: bool) -> Item:
    item: Item = {"image": os.path.join(images, labels["image"]), "group": group}
    for key in MASK_KEYS:
        if path := labels.get(f"mask_{key}", ""):
            # the field of view is computed from the image and has no soft form
            item[key] = os.path.join(images, f"soft_{path}" if soft_masks and key != "fov" else path)
    return item


def note_missing(items: list[Item], problems: Problems) -> None:
    """Note every image and mask whose file is not there."""
    for path in (item[key] for item in items for key in PATH_KEYS if key in item):
        if not os.path.isfile(path):
            problems.add("missing file", path)


def _datalist(
    found: Sequence[tuple[str, Item]], name: str, description: str, licence: str, *, patients_known: bool
) -> Datalist:
    """The datalist of items, each with its split as the tables call it."""
    sections: dict[str, list[Item]] = {section: [] for section in SECTION_OF_SPLIT.values()}
    for split, item in found:
        sections[SECTION_OF_SPLIT[split]].append(item)
    return make_datalist(sections, name=name, description=description, licence=licence, patients_known=patients_known)


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
    items = [_official_item(folder, row) for row in rows]
    problems = Problems(str(folder))
    note_missing(items, problems)
    problems.raise_any("Extract the archive again, or remove the whole part.")
    _check_labels(folder, rows)
    present = {path for images in {_images(folder, row) for row in rows} for path in image_files(images).values()}
    warn_without_row(present - {item["image"] for item in items}, "the shipped list splits/idrid.csv")
    chosen = _canonical(rows) if canonical_only else range(len(rows))
    found = [(rows[index]["split"], items[index]) for index in chosen]
    return _datalist(found, "idrid_official", IDRID, IDRID_LICENCE, patients_known=False)


def is_idrid_official(root: Path) -> bool:
    """Whether `root` has a part of IDRiD as IEEE DataPort distributes it."""
    return any((root / name).is_dir() for name in PARTS.values())


def shipped_rows() -> list[Row]:
    """Rows of the list that is shipped with the package."""
    with as_file(files("monai_retina_gen.data") / "splits" / "idrid.csv") as path:
        return read_table(path)


def _images(folder: Path, row: Row) -> Path:
    return folder / PARTS[row["subset"]] / "1. Original Images" / SET_FOLDERS[row["official_split"]]


def _official_item(folder: Path, row: Row) -> Item:
    item: Item = {"image": str(_images(folder, row) / f"{row['orig_id']}.jpg"), "group": row["group"]}
    item |= block_of(row["group"])
    masks = folder / PARTS["segmentation"] / "2. All Segmentation Groundtruths" / SET_FOLDERS[row["official_split"]]
    for key in row["masks"].split():
        item[key] = str(masks / MASK_FOLDERS[key] / f"{row['orig_id']}_{key.upper()}.tif")
    return {**item, **{key: int(row[key]) for key in ("grade", "dme") if row[key]}}


def _canonical(rows: list[Row]) -> list[int]:
    """The row of each group's canonical file, or of its first file where that one is not there."""
    chosen: dict[str, int] = {}
    for index, row in enumerate(rows):
        if row["canonical"] == "1" or row["group"] not in chosen:
            chosen[row["group"]] = index
    return sorted(chosen.values())


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
