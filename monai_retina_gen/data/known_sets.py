"""The data sets that we know by name and by the layout of their folder."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_retina_gen.data import (
    aptos,
    chasedb1,
    dr_images,
    eyepacs,
    folder,
    hrf,
    idrid,
    idrid_official,
    messidor2,
    odir,
)
from monai_retina_gen.data.csv_list import csv_datalist
from monai_retina_gen.data.datalist_format import MASK_KEYS, Datalist
from monai_retina_gen.data.tables import read_header
from monai_retina_gen.errors import DatalistError


@dataclass(frozen=True)
class KnownSet:
    """A reader, the test whether a folder has its layout, and that layout in words."""

    read: Callable[..., Datalist]
    matches: Callable[[Path], bool]
    layout: str


# in the order in which a folder is tried: the plain folder, which asks least, last
KNOWN_SETS = {
    "idrid": KnownSet(idrid.idrid_datalist, idrid.is_idrid, idrid.LAYOUT),
    "idrid_official": KnownSet(
        idrid_official.idrid_official_datalist, idrid_official.is_idrid_official, idrid_official.LAYOUT
    ),
    "hrf": KnownSet(hrf.hrf_datalist, hrf.is_hrf, hrf.LAYOUT),
    "chasedb1": KnownSet(chasedb1.chasedb1_datalist, chasedb1.is_chasedb1, chasedb1.LAYOUT),
    "aptos2019": KnownSet(aptos.aptos2019_datalist, aptos.is_aptos2019, aptos.LAYOUT),
    "eyepacs": KnownSet(eyepacs.eyepacs_datalist, eyepacs.is_eyepacs, eyepacs.LAYOUT),
    "odir5k": KnownSet(odir.odir5k_datalist, odir.is_odir5k, odir.LAYOUT),
    "messidor2": KnownSet(messidor2.messidor2_datalist, messidor2.is_messidor2, messidor2.LAYOUT),
    "dr_images": KnownSet(dr_images.dr_images_datalist, dr_images.is_dr_images, dr_images.LAYOUT),
    "folder": KnownSet(folder.folder_datalist, folder.is_folder, folder.LAYOUT),
}

# key of the datalist: argument of `csv_datalist`
CSV_COLUMNS = {"image": "image_column", "grade": "label_column", "group": "group_column", "split": "split_column"}


def read_known_set(name: str, dataset_dir: str | os.PathLike[str] | None, options: Mapping[str, Any]) -> Datalist:
    """Read the data set called `name`; each reader gets those of the options that it has."""
    if name not in KNOWN_SETS:
        raise DatalistError(
            f"datalist={name!r}: no such file or folder, and no data set of that name. Give a JSON datalist, "
            f"a CSV table, a folder, or one of {', '.join(KNOWN_SETS)} with dataset_dir."
        )
    if not dataset_dir:
        raise DatalistError(f"datalist={name!r} needs dataset_dir, the folder that holds that data set.")
    read = KNOWN_SETS[name].read
    accepted = inspect.signature(read).parameters
    return read(dataset_dir, **{key: value for key, value in options.items() if key in accepted})


def read_folder(root: Path, options: Mapping[str, Any]) -> Datalist:
    """Read a data set whose kind is recognised by the layout of its folder."""
    for name, known in KNOWN_SETS.items():
        if known.matches(root):
            return read_known_set(name, root, options)
    layouts = "\n  ".join(known.layout for known in KNOWN_SETS.values())
    raise DatalistError(f"{root} has none of the layouts that are known:\n  {layouts}\nor give a JSON or CSV file.")


def read_standard_csv(
    path: Path, dataset_dir: str | os.PathLike[str], columns: Mapping[str, str] | None = None, *, image_suffix: str = ""
) -> Datalist:
    """Read a CSV table whose columns have the names of the datalist's keys, or those that `columns` gives them.

    Args:
        path: the table.
        dataset_dir: folder that its paths are relative to.
        columns: `{key: column}` for `image`, `grade`, `group`, `split` and mask keys.
        image_suffix: what to add to the image column, for example `.jpg` where it holds an id.

    Raises:
        DatalistError: a key or column that there is not, and what `csv_datalist` finds.
    """
    header, named = read_header(path), dict(columns or {})
    unknown = [key for key in named if key not in (*CSV_COLUMNS, *MASK_KEYS)]
    if unknown:
        raise DatalistError(f"columns {unknown}: no such key; there are {', '.join([*CSV_COLUMNS, *MASK_KEYS])}.")
    missing = [column for column in [named.get("image", "image"), *named.values()] if column not in header]
    if missing:
        raise DatalistError(
            f"{path}: no column {missing[0]!r}; its columns are {header}. Rename them to image, grade, group (the "
            f"patient) and split, or say which is which: datalist TABLE.csv --columns image=NAME grade=NAME "
            f"(csv_datalist in Python)."
        )
    present = {key: named.get(key, key) for key in (*CSV_COLUMNS, *MASK_KEYS) if named.get(key, key) in header}
    mask_columns = {key: present.pop(key) for key in MASK_KEYS if key in present}
    chosen = {"label_column": None, **{CSV_COLUMNS[key]: column for key, column in present.items()}}
    return csv_datalist(path, dataset_dir, mask_columns=mask_columns, image_suffix=image_suffix, **chosen)  # type: ignore[arg-type]
