"""APTOS 2019 Blindness Detection (Kaggle): 3662 graded training photographs, patients unknown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from monai_retina_gen.data.datalist_format import Datalist, Item, existing_folder, make_datalist
from monai_retina_gen.data.photographs import group_identical_files, require_items
from monai_retina_gen.data.problems import Problems
from monai_retina_gen.data.splitting import FRACTIONS, split_by_group
from monai_retina_gen.data.tables import image_ids, note_repeated, parse_grade, read_table, warn_without_row

__all__ = ["aptos2019_datalist"]

LAYOUT = "aptos2019: train.csv (id_code, diagnosis) and train_images/<id_code>.png"
LICENCE = "Rules of the Kaggle competition APTOS 2019 Blindness Detection"


def aptos2019_datalist(
    root: str | os.PathLike[str], *, fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> Datalist:
    """Read the graded photographs of APTOS 2019; the competition's own test photographs have no labels.

    The split is by photograph, with the grades spread evenly and files with identical bytes kept together.

    Args:
        root: folder with `train.csv` and `train_images/`.
        fractions: shares of training, validation and test.
        seed: seed of the split.

    Returns:
        Datalist with absolute paths.

    Raises:
        DatalistError: a row without a file, an id that appears twice, or a grade outside 0-4.

    Warns:
        UserWarning: files without a row (left out), identical photographs with different grades.
    """
    folder = existing_folder(root, "APTOS 2019")
    items = _items(folder)
    group_identical_files(items)
    return make_datalist(
        split_by_group(items, fractions, seed=seed),
        name="aptos2019",
        description=f"APTOS 2019 Blindness Detection, training photographs, split with seed {seed}.",
        licence=LICENCE,
        patients_known=False,
    )


def is_aptos2019(root: Path) -> bool:
    """Whether `root` has the layout of APTOS 2019."""
    return (root / "train.csv").is_file() and (root / "train_images").is_dir()


def _items(folder: Path) -> list[Item]:
    table = folder / "train.csv"
    rows = read_table(table, ("id_code", "diagnosis"))
    require_items(rows, table, "one row per photograph")
    problems = Problems(str(folder))
    files = image_ids(folder / "train_images", (".png",), problems)
    note_repeated((row["id_code"] for row in rows), "id in two rows", problems)
    items = []
    for row in rows:
        name = row["id_code"]
        if name not in files:
            problems.add("missing file", f"train_images/{name}.png")
        grade = parse_grade(row["diagnosis"], name, problems)
        items.append({"image": files.get(name), "group": name, "grade": grade})
    problems.raise_any("Fetch the data set again, or correct train.csv.")
    warn_without_row(set(files) - {row["id_code"] for row in rows}, table)
    return items
