"""ODIR-5K (Peking University, 2019): eyes of 5000 patients, graded here from the keywords of each eye."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from monai_retina_gen.data.datalist_format import Datalist, Item, existing_folder, make_datalist
from monai_retina_gen.data.photographs import require_items
from monai_retina_gen.data.problems import Problems
from monai_retina_gen.data.splitting import FRACTIONS, split_by_group
from monai_retina_gen.data.tables import image_files, read_header, read_table, warn_without_row
from monai_retina_gen.errors import DatalistError

__all__ = ["odir5k_datalist"]

SIDES = ("Left", "Right")
COLUMNS = ("ID", *(f"{side}-{what}" for side in SIDES for what in ("Fundus", "Diagnostic Keywords")))
IMAGE_FOLDERS = (
    "Training Images",
    "ODIR-5K/Training Images",
    "ODIR-5K_Training_Dataset",
    "preprocessed_images",
)
LAYOUT = f"odir5k: a CSV with the columns {', '.join(COLUMNS)}, and the images in '{IMAGE_FOLDERS[0]}'"
LICENCE = "Terms of the ODIR-2019 challenge (Peking University); not for redistribution"

GRADE_OF_KEYWORD = {
    "normal fundus": 0,
    "mild nonproliferative retinopathy": 1,
    "moderate non proliferative retinopathy": 2,
    "severe nonproliferative retinopathy": 3,
    "proliferative diabetic retinopathy": 4,
    "severe proliferative diabetic retinopathy": 4,
}
BAD_QUALITY = (
    "anterior segment image",
    "image offset",
    "lens dust",
    "low image quality",
    "no fundus image",
    "optic disk photographically invisible",
)


def odir5k_datalist(root: str | os.PathLike[str], *, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> Datalist:
    """Read the eyes of ODIR-5K whose keywords give a grade of diabetic retinopathy, split by patient.

    Eyes with a keyword of bad quality, without a keyword that gives a grade, or with keywords of several
    grades are left out; the description says how many. Items have `image`, `grade`, `group` (the patient),
    `eye` and `diagnosis` (the keywords).

    Args:
        root: folder with one CSV table of annotations and one of the known image folders.
        fractions: shares of training, validation and test.
        seed: seed of the split.

    Returns:
        Datalist with absolute paths.

    Raises:
        DatalistError: annotations as XLSX only, no table with the columns, no image folder, a missing file,
            or an image that appears with different keywords or patients.

    Warns:
        UserWarning: files without a row, which are left out.
    """
    folder = existing_folder(root, "ODIR-5K")
    eyes = _eyes(folder)
    outcomes = {eye["image"]: grade_from_keywords(eye["diagnosis"]) for eye in eyes}
    items = [{**eye, "grade": outcomes[eye["image"]]} for eye in eyes if isinstance(outcomes[eye["image"]], int)]
    require_items(items, folder, "an eye with a keyword such as 'normal fundus'")
    left_out = Counter(outcome for outcome in outcomes.values() if isinstance(outcome, str))
    counts = "; ".join(f"{reason}: {count}" for reason, count in sorted(left_out.items())) or "none"
    return make_datalist(
        split_by_group(items, fractions, seed=seed),
        name="odir5k",
        description=f"ODIR-5K by each eye's keywords, split by patient, seed {seed}; left out: {counts}.",
        licence=LICENCE,
        patients_known=True,
    )


def is_odir5k(root: Path) -> bool:
    """Whether `root` has annotations and images as ODIR-5K has them (XLSX is refused on reading)."""
    has_images = any((root / name).is_dir() for name in IMAGE_FOLDERS)
    return has_images and bool(_tables(root) or list(root.glob("*.xlsx")))


def grade_from_keywords(keywords: str) -> int | str:
    """Grade of an eye, or in words why it has none.

    Examples:
        >>> grade_from_keywords("moderate non proliferative retinopathy，hypertensive retinopathy")
        2
        >>> grade_from_keywords("normal fundus, lens dust")
        'bad quality'
    """
    # the tables separate keywords by the full-width comma, some copies by the ASCII one
    words = [word.strip().lower() for word in re.split("[,\uff0c]", keywords)]
    if any(word in BAD_QUALITY for word in words):
        return "bad quality"
    grades = {GRADE_OF_KEYWORD[word] for word in words if word in GRADE_OF_KEYWORD}
    if len(grades) > 1:
        return "several grades"
    return grades.pop() if grades else "no grade"


def _tables(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.csv")) if set(COLUMNS) <= set(read_header(path))]


def _find_table(folder: Path) -> Path:
    tables = _tables(folder)
    if len(tables) == 1:
        return tables[0]
    sheets = [path.name for path in folder.glob("*.xlsx")]
    if sheets and not tables:
        raise DatalistError(f"{folder}: {sheets} are XLSX sheets, which are not read: save the annotations as CSV.")
    raise DatalistError(f"{folder}: one CSV with the columns {list(COLUMNS)} is wanted, found {tables}.")


def _eyes(folder: Path) -> list[Item]:
    table = _find_table(folder)
    images = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), folder / IMAGE_FOLDERS[0])
    files = image_files(images)
    problems = Problems(str(table))
    eyes: dict[str, Item] = {}
    for row in read_table(table, COLUMNS):
        for side in SIDES:
            _add_eye(eyes, row, side, files, problems)
    problems.raise_any("Fetch the data set again, or correct the table.")
    warn_without_row(set(files) - set(eyes), table)
    return list(eyes.values())


def _add_eye(
    eyes: dict[str, Item], row: Mapping[str, str], side: str, files: Mapping[str, str], problems: Problems
) -> None:
    name = row[f"{side}-Fundus"]
    eye = {
        "image": files.get(name),
        "group": row["ID"],
        "eye": side.lower(),
        "diagnosis": row[f"{side}-Diagnostic Keywords"],
    }
    if name not in files:
        problems.add("missing file", name or f"no name for the {side.lower()} eye of {row['ID']}")
    # some copies of the table have one row per eye, which repeats both eyes
    if eyes.setdefault(name, eye) != eye:
        problems.add("image twice with different annotations", name)
