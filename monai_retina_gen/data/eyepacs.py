"""EyePACS (Kaggle Diabetic Retinopathy Detection 2015): 35,126 graded photographs, both eyes of a patient."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from monai_retina_gen.data.datalist_format import Datalist, Item, existing_folder, make_datalist
from monai_retina_gen.data.photographs import require_items
from monai_retina_gen.data.problems import Problems
from monai_retina_gen.data.splitting import FRACTIONS, split_by_group
from monai_retina_gen.data.tables import image_ids, note_repeated, parse_grade, read_table, warn_without_row

__all__ = ["eyepacs_datalist"]

LAYOUT = "eyepacs: trainLabels.csv (image, level) and train/<patient>_<left or right>.jpeg"
LICENCE = "Rules of the Kaggle competition Diabetic Retinopathy Detection (2015); photographs by EyePACS"
SUFFIXES = (".jpeg", ".jpg", ".png")


def eyepacs_datalist(
    root: str | os.PathLike[str], *, fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> Datalist:
    """Read the graded photographs of EyePACS, split by patient.

    Items have `image`, `grade`, `group` (the patient's number) and `eye` (`left` or `right`).

    Args:
        root: folder with `trainLabels.csv` and `train/`.
        fractions: shares of training, validation and test.
        seed: seed of the split.

    Returns:
        Datalist with absolute paths.

    Raises:
        DatalistError: a row without a file, an image that appears twice or is not called like `10_left`, or a
            grade outside 0-4.

    Warns:
        UserWarning: files without a row, which are left out.
    """
    return make_datalist(
        split_by_group(_items(existing_folder(root, "EyePACS")), fractions, seed=seed),
        name="eyepacs",
        description=f"EyePACS (Kaggle 2015), training photographs, split by patient with seed {seed}.",
        licence=LICENCE,
        patients_known=True,
    )


def is_eyepacs(root: Path) -> bool:
    """Whether `root` has the layout of EyePACS as Kaggle distributes it."""
    return (root / "trainLabels.csv").is_file() and (root / "train").is_dir()


def _items(folder: Path) -> list[Item]:
    table = folder / "trainLabels.csv"
    rows = read_table(table, ("image", "level"))
    require_items(rows, table, "one row per photograph")
    problems = Problems(str(folder))
    files = image_ids(folder / "train", SUFFIXES, problems)
    note_repeated((row["image"] for row in rows), "image in two rows", problems)
    items = [_item(row, files, problems) for row in rows]
    problems.raise_any("Fetch the data set again, or correct trainLabels.csv.")
    warn_without_row(set(files) - {row["image"] for row in rows}, table)
    return items


def _item(row: dict[str, str], files: dict[str, str], problems: Problems) -> Item:
    name = row["image"]
    match = re.fullmatch(r"(\d+)_(left|right)", name)
    if match is None:
        problems.add("name is not <patient>_left or <patient>_right", name)
    if name not in files:
        problems.add("missing file", f"train/{name}.jpeg")
    patient, eye = match.groups() if match else ("", "")
    return {
        "image": files.get(name),
        "group": patient,
        "eye": eye,
        "grade": parse_grade(row["level"], name, problems),
    }
