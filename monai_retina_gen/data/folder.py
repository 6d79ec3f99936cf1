"""Photographs in plain folders: one folder per grade, or one flat folder without grades."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from monai_retina_gen.data.datalist_format import Datalist, Item, existing_folder, make_datalist
from monai_retina_gen.data.photographs import group_identical_files, require_items
from monai_retina_gen.data.problems import Problems, listed
from monai_retina_gen.data.splitting import FRACTIONS, split_by_group
from monai_retina_gen.data.tables import GRADES, image_files, warn_unread

__all__ = ["folder_datalist"]

LAYOUT = "folder: one folder per grade (0/ 1/ 2/ 3/ 4/) with images, or images without grades in one folder"


def folder_datalist(root: str | os.PathLike[str], *, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> Datalist:
    """Read the images of `root/0` to `root/4` with these grades, or those directly in `root` without grades.

    Identical files form one group; otherwise each photograph is its own. The split spreads grades evenly.

    Args:
        root: the folder; grades without photographs need no folder.
        fractions: shares of training, validation and test.
        seed: seed of the split.

    Returns:
        Datalist with absolute paths.

    Raises:
        DatalistError: no such folder, no images, or a folder whose number is no grade.

    Warns:
        UserWarning: images beside the grades' folders, other folders and files that no reader takes, which are left
            out, and identical photographs with different grades.
    """
    folder = existing_folder(root, "folder_datalist")
    graded = _grade_folders(folder)
    items = [item for name in graded for item in _items(folder / name, int(name))] if graded else _items(folder)
    warn_unread(folder, [path for name in graded or ["."] for path in sorted((folder / name).iterdir())])
    require_items(items, folder, LAYOUT)
    group_identical_files(items)
    how = "folders by grade" if graded else "one folder, not graded"
    return make_datalist(
        split_by_group(items, fractions, seed=seed),
        name=folder.name,
        description=f"Photographs in {how}, split with seed {seed}.",
        licence="unknown: that of the photographs",
        patients_known=False,
    )


def is_folder(root: Path) -> bool:
    """Whether `root` has folders named by grade, or images."""
    return any((root / str(grade)).is_dir() for grade in GRADES) or bool(image_files(root))


def _grade_folders(folder: Path) -> list[str]:
    names = sorted(e.name for e in folder.iterdir() if e.is_dir() and not e.name.startswith("."))
    graded = [name for name in names if name in {str(grade) for grade in GRADES}]
    problems = Problems(str(folder))
    for name in names:
        if name.isdigit() and name not in graded:
            problems.add("folder that is not one of the grades 0 to 4", name)
    problems.raise_any("Rename the folders to the grades.")
    others = sorted(set(names) - set(graded)) + (list(image_files(folder)) if graded else [])
    if others:
        warnings.warn(f"{folder}: left out: {listed(others)}.", UserWarning, stacklevel=3)
    return graded


def _items(folder: Path, grade: int | None = None) -> list[Item]:
    prefix, label = ("", {}) if grade is None else (f"{grade}/", {"grade": grade})
    stems = {path: name.removesuffix(".gz").rsplit(".", 1)[0] for name, path in image_files(folder).items()}
    return [{"image": path, "group": prefix + stem, **label} for path, stem in stems.items()]
