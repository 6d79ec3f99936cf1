"""Messidor-2 with the adjudicated grades of Krause et al. 2018: 1748 photographs, 1744 of them gradable."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from monai_retina_gen.data.datalist_format import Datalist, Item, existing_folder, make_datalist
from monai_retina_gen.data.photographs import group_identical_files, require_items
from monai_retina_gen.data.problems import Problems
from monai_retina_gen.data.splitting import FRACTIONS, split_by_group
from monai_retina_gen.data.tables import (
    IMAGE_SUFFIXES,
    image_files,
    note_repeated,
    parse_grade,
    read_table,
    warn_without_row,
)

__all__ = ["messidor2_datalist"]

TABLE, PAIRS = "messidor_data.csv", "pairs.csv"
COLUMNS = ("image_id", "adjudicated_dr_grade")
FOLDERS = ("IMAGES", "images")
LAYOUT = f"messidor2: {TABLE} ({', '.join(COLUMNS)}), IMAGES/, and {PAIRS} (left, right) where the pairs are known"
LICENCE = "Terms of the Messidor-2 data set (ADCIS); grades by Krause et al. 2018"


def messidor2_datalist(
    root: str | os.PathLike[str], *, fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> Datalist:
    """Read the gradable photographs of Messidor-2, split by patient where `pairs.csv` says which eyes belong together.

    Items have `image`, `grade`, `group` (the pair, or the photograph) and, where the table has it, `dme` (0 or 1).
    File names are compared without their case and suffix, which differ between copies.

    Args:
        root: folder with `messidor_data.csv`, `IMAGES/` and perhaps `pairs.csv`, which has the columns `left` and
            `right`, a row for each patient.
        fractions: shares of training, validation and test.
        seed: seed of the split.

    Returns:
        Datalist with absolute paths; the description says how many were left out as not gradable.

    Raises:
        DatalistError: a row without a file, a photograph in two rows or pairs, or a grade outside 0-4.

    Warns:
        UserWarning: files without a row, which are left out; identical photographs with different grades.
    """
    folder = existing_folder(root, "Messidor-2")
    rows = read_table(folder / TABLE, COLUMNS)
    gradable = [row for row in rows if row.get("adjudicated_gradable", "1") != "0" and row["adjudicated_dr_grade"]]
    items, paired = _items(folder, rows, gradable)
    if not paired:
        group_identical_files(items)
    left_out = len(rows) - len(gradable)
    return make_datalist(
        split_by_group(items, fractions, seed=seed),
        name="messidor2",
        description=f"Messidor-2, adjudicated grades, split with seed {seed}; left out as not gradable: {left_out}.",
        licence=LICENCE,
        patients_known=paired,
    )


def is_messidor2(root: Path) -> bool:
    """Whether `root` has the layout of Messidor-2."""
    return (root / TABLE).is_file() and any((root / name).is_dir() for name in FOLDERS)


def _items(
    folder: Path, rows: Sequence[Mapping[str, str]], gradable: Sequence[Mapping[str, str]]
) -> tuple[list[Item], bool]:
    problems = Problems(str(folder))
    pictures = image_files(next((folder / name for name in FOLDERS if (folder / name).is_dir()), folder / FOLDERS[0]))
    note_repeated((_plain(name) for name in pictures), "two files of one name", problems)
    files = {_plain(name): path for name, path in pictures.items()}
    note_repeated((_plain(row["image_id"]) for row in rows), "photograph in two rows", problems)
    pairs = _pairs(folder / PAIRS, problems)
    items = [_item(row, files, pairs, problems) for row in gradable]
    problems.raise_any(f"Fetch the data set again, or correct {TABLE}.")
    require_items(items, folder / TABLE, "one row per photograph")
    warn_without_row(set(files) - {_plain(row["image_id"]) for row in rows}, folder / TABLE)
    return items, bool(pairs)


def _item(row: Mapping[str, str], files: Mapping[str, str], pairs: Mapping[str, str], problems: Problems) -> Item:
    name = _plain(row["image_id"])
    if name not in files:
        problems.add("missing file", row["image_id"])
    known = {"dme": int(row["adjudicated_dme"])} if row.get("adjudicated_dme") in ("0", "1") else {}
    return {
        "image": files.get(name),
        "group": pairs.get(name, name),
        "grade": parse_grade(row["adjudicated_dr_grade"], row["image_id"], problems),
        **known,
    }


def _pairs(table: Path, problems: Problems) -> dict[str, str]:
    """Pair by photograph; none without the table."""
    rows = read_table(table, ("left", "right")) if table.is_file() else []
    both = [(_plain(row[side]), f"pair {number}") for number, row in enumerate(rows, 1) for side in ("left", "right")]
    note_repeated((name for name, _ in both if name), "photograph in two pairs", problems)
    return {name: pair for name, pair in both if name}


def _plain(name: str) -> str:
    """A file's name without case and suffix."""
    path = Path(name.lower())
    return path.stem if path.suffix in IMAGE_SUFFIXES else path.name
