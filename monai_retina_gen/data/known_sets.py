"""The data sets that we know by name and by the layout of their folder, plain folders among them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from monai_retina_gen.data import idrid_official
from monai_retina_gen.data.datalist_format import Datalist, Item, Problems, existing_folder, listed, make_datalist
from monai_retina_gen.data.prepared_sets import PREPARED_SETS, is_prepared
from monai_retina_gen.data.public_sets import PUBLIC_SETS, read_public_set
from monai_retina_gen.data.splitting import group_identical_files, require_items, split_by_group
from monai_retina_gen.data.tables import GRADES, image_files, warn_unread
from monai_retina_gen.errors import DatalistError

LAYOUT = "folder: one folder per grade (0/ 1/ 2/ 3/ 4/) with images, or images without grades in one folder"


def folder_datalist(root: str | os.PathLike[str]) -> Datalist:
    """Read the images of `root/0` to `root/4` with these grades, or those directly in `root` without grades.

    Identical files form one group; otherwise each photograph is its own. `DatalistError` for no images, or a folder
    whose number is no grade; a warning names what is left out, and identical photographs with different grades.
    """
    folder = existing_folder(root, "folder_datalist")
    graded = _grade_folders(folder)
    items = [item for name in graded for item in _items(folder / name, int(name))] if graded else _items(folder)
    warn_unread(folder, [path for name in graded or ["."] for path in sorted((folder / name).iterdir())])
    require_items(items, folder, LAYOUT)
    group_identical_files(items)
    how = "folders by grade" if graded else "one folder, not graded"
    return make_datalist(
        split_by_group(items),
        name=folder.name,
        description=f"Photographs in {how}, split with seed 0.",
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


@dataclass(frozen=True)
class KnownSet:
    """A reader, the test whether a folder has its layout, that layout in words, and options that the reader takes."""

    read: Callable[..., Datalist]
    matches: Callable[[Path], bool]
    layout: str
    options: tuple[str, ...] = ()


def _prepared(name: str) -> KnownSet:
    source, read = PREPARED_SETS[name]
    layout = f"{name}: labels.csv (source {source}), splits.csv, 512/ and 256/ with images/ and masks/"
    options = ("size", "canonical_only") if name == "idrid" else ("size",)
    return KnownSet(read, lambda root: is_prepared(root, source), layout, options)


# in the order in which a folder is tried: the plain folder, which asks least, last
KNOWN_SETS = {
    "idrid": _prepared("idrid"),
    "idrid_official": KnownSet(
        idrid_official.idrid_official_datalist,
        idrid_official.is_idrid_official,
        idrid_official.LAYOUT,
        options=("canonical_only",),
    ),
    "hrf": _prepared("hrf"),
    "chasedb1": _prepared("chasedb1"),
    **{
        name: KnownSet(partial(read_public_set, name), known.matches, known.layout)
        for name, known in PUBLIC_SETS.items()
    },
    "folder": KnownSet(folder_datalist, is_folder, LAYOUT),
}


def read_known_set(name: str, dataset_dir: str | os.PathLike[str] | None, options: Mapping[str, Any]) -> Datalist:
    """Read the data set called `name`; each reader gets those of the options that it has."""
    if name not in KNOWN_SETS:
        raise DatalistError(
            f"datalist={name!r}: no such file or folder, and no data set of that name. Give a JSON datalist, "
            f"a CSV table, a folder, or one of {', '.join(KNOWN_SETS)} with dataset_dir."
        )
    if not dataset_dir:
        raise DatalistError(f"datalist={name!r} needs dataset_dir, the folder that holds that data set.")
    known = KNOWN_SETS[name]
    return known.read(dataset_dir, **{key: options[key] for key in known.options if key in options})


def read_folder(root: Path, options: Mapping[str, Any]) -> Datalist:
    """Read a data set whose kind is recognised by the layout of its folder."""
    for name, known in KNOWN_SETS.items():
        if known.matches(root):
            return read_known_set(name, root, options)
    layouts = "\n  ".join(known.layout for known in KNOWN_SETS.values())
    raise DatalistError(f"{root} has none of the layouts that are known:\n  {layouts}\nor give a JSON or CSV file.")
