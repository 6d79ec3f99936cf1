"""Loading and saving datalists: by the name of a data set, from its folder, from JSON or CSV."""

from __future__ import annotations

import copy
import json
import os
import reprlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_retina_gen.data.checking import check_datalist
from monai_retina_gen.data.csv_list import read_standard_csv
from monai_retina_gen.data.datalist_format import (
    GRADES,
    MASK_KEYS,
    PATH_KEYS,
    SECTIONS,
    Datalist,
    Item,
    Problems,
    absolute_path,
    existing_folder,
    image_files,
    iterate_items,
    listed,
    make_datalist,
    warn_unread,
)
from monai_retina_gen.data.files import write_atomically
from monai_retina_gen.data.grades import ICDR_GRADE, apply_grade_map, grade_of
from monai_retina_gen.data.prepared_sets import (
    PREPARED_SETS,
    idrid_official_datalist,
    is_idrid_official,
    is_prepared,
)
from monai_retina_gen.data.public_sets import PUBLIC_SETS, PublicSet
from monai_retina_gen.data.splitting import group_identical_files, require_items, split_by_group
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
KNOWN_SETS: dict[str, KnownSet | PublicSet] = {
    "idrid": _prepared("idrid"),
    "idrid_official": KnownSet(
        idrid_official_datalist,
        is_idrid_official,
        "idrid_official: 'A. Segmentation/' and 'B. Disease Grading/' (or one of them) as IEEE DataPort has them",
        ("canonical_only",),
    ),
    "hrf": _prepared("hrf"),
    "chasedb1": _prepared("chasedb1"),
    **{known.name: known for known in PUBLIC_SETS},
    "folder": KnownSet(folder_datalist, is_folder, LAYOUT),
}


def read_known_set(name: str, dataset_dir: str | os.PathLike[str] | None, options: Mapping[str, Any]) -> Datalist:
    """Read the data set called `name`; each reader gets those of the options that it has."""
    if name not in KNOWN_SETS:
        raise DatalistError(
            f"datalist={name!r}: no such file or folder, and no data set of that name. Give a JSON datalist, "
            f"a CSV table, a folder, or a name and dataset_dir, its folder. Names: {', '.join(KNOWN_SETS)}."
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


PathLike = str | os.PathLike[str]


def load_datalist(
    datalist: PathLike | Mapping[str, Any],
    dataset_dir: PathLike | None = None,
    *,
    require_grade: bool = False,
    label_key: str = "grade",
    grade_map: str | Mapping[Any, int] | None = None,
    canonical_only: bool = True,
    size: int = 512,
) -> Datalist:
    """Load and check a datalist, whatever form it comes in.

    Args:
        datalist: the name of a data set (`idrid`, `idrid_official`, `aptos2019`, `eyepacs`, `odir5k`, `messidor2`,
            `dr_images`, `hrf`, `chasedb1`, `folder`), the folder of one (recognised by its layout), a JSON datalist, a
            CSV table with the columns `image` and, where there are any, `grade`, `group`, `split` and mask keys, or a
            dict.
        dataset_dir: folder of the data set for a name, and the folder that relative paths start from
            otherwise (by default that of the JSON or CSV file). Not used where `datalist` is a folder.
        require_grade: leave ungraded photographs out.
        label_key: key of the grade in the items, or column of the CSV table, where it is not `grade`.
        grade_map: a name of `GRADE_MAPS` or `{grade: label}`, applied after the check of grades 0-4; the items keep
            their own grade under `ICDR_GRADE`.
        canonical_only: one file per photograph, for data sets that list copies (IDRiD).
        size: side of the images for data sets prepared at several sizes (IDRiD, HRF, CHASE_DB1).

    Returns:
        A dict with `training`, `validation` and `test` (lists of items with absolute paths and grades as integers) and
        the metadata.

    Raises:
        DatalistError: an unknown name or layout, unreadable files, or what `check_datalist` finds.

    Examples:
        >>> load_datalist("my_eyes.json")
        Traceback (most recent call last):
        ...
        monai_retina_gen.errors.DatalistError: datalist='my_eyes.json': no such file or folder, ...
    """
    loaded = _read(datalist, dataset_dir, label_key, {"canonical_only": canonical_only, "size": size})
    check_datalist(loaded, label_key=label_key)
    for _, item in iterate_items(loaded):
        item |= {key: grade_of(item[key], key) for key in (label_key, ICDR_GRADE) if key in item}
    for section in SECTIONS:
        items = [item for item in loaded[section] if label_key in item or not require_grade]
        loaded[section] = items if grade_map is None else apply_grade_map(items, grade_map, label_key=label_key)
    if require_grade and not any(loaded[section] for section in SECTIONS):
        raise DatalistError(
            f"datalist={datalist!r}: require_grade=True, but no photograph in it has a grade (label_key={label_key!r})."
        )
    return loaded


def _read(
    datalist: PathLike | Mapping[str, Any], dataset_dir: PathLike | None, label_key: str, options: Mapping[str, Any]
) -> Datalist:
    if isinstance(datalist, Mapping):
        return _complete(datalist, dataset_dir or os.getcwd(), "datalist")
    path = Path(datalist).expanduser()
    if path.suffix.lower() == ".json" and path.is_file():
        return _complete(_read_json(path), dataset_dir or path.parent, str(path))
    if path.suffix.lower() == ".csv" and path.is_file():
        return _read_csv(path, dataset_dir or path.parent, label_key)
    if path.is_file():
        raise DatalistError(f"{path}: wanted a .json datalist or a .csv table; save a workbook as CSV in UTF-8.")
    if path.is_dir() and not (datalist in KNOWN_SETS and dataset_dir):
        return read_folder(path, options)
    return read_known_set(str(datalist), dataset_dir, options)


def _read_csv(path: Path, dataset_dir: PathLike, label_key: str) -> Datalist:
    loaded = read_standard_csv(path, dataset_dir, None if label_key == "grade" else {"grade": label_key})
    for _, item in iterate_items(loaded):
        if "grade" in item:
            item[label_key] = item.pop("grade")
    return loaded


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # not UTF-8, or not JSON
        raise DatalistError(f"{path} cannot be read as JSON: {error}. Write it with save_datalist.") from error


def _complete(content: Any, base: PathLike, name: str) -> Datalist:
    present = [section for section in SECTIONS if isinstance(content, Mapping) and section in content]
    if not present or any(not isinstance(content[section], list) for section in present):
        raise DatalistError(f"{name}: lists of items under {', '.join(SECTIONS)} are wanted (at least one of them).")
    metadata = {"name": name, "description": "", "licence": "unknown", "patients": "unknown"}
    loaded = {**metadata, **dict.fromkeys(SECTIONS, ()), **copy.deepcopy(dict(content))}
    for section in SECTIONS:
        loaded[section] = [_absolute(item, base, name) for item in loaded[section]]
    return loaded


def _absolute(entry: Any, base: PathLike, name: str) -> Item:
    # the decathlon form lists test photographs as bare paths
    item = {"image": entry} if isinstance(entry, str) else entry
    if not isinstance(item, dict) or not isinstance(item.get("image"), str):
        raise DatalistError(
            f"{name}: an item is a dict with the path of its 'image', but one is {reprlib.repr(entry)}."
        )
    item.setdefault("group", os.path.splitext(item["image"])[0])
    for key in (key for key in MASK_KEYS if not isinstance(item.get(key, ""), str)):
        raise DatalistError(f"{name}: '{key}' of {item['image']} is {item[key]!r}; one path is wanted.")
    for key in PATH_KEYS:
        if key in item:
            item[key] = absolute_path(base, item[key])
    return item


def save_datalist(datalist: Mapping[str, Any], path: PathLike, dataset_dir: PathLike | None = None) -> None:
    """Write a datalist as JSON that `load_datalist` and MONAI's `load_decathlon_datalist` read.

    Empty sections are left out: MONAI fails on an empty test section. The file appears at once or not at all.

    Args:
        datalist: datalist with absolute paths.
        path: the JSON file; its folder is made where it does not exist.
        dataset_dir: folder that paths become relative to; by default that of the JSON file.

    Raises:
        DatalistError: content that JSON cannot hold.
    """
    target = Path(os.path.abspath(Path(path).expanduser()))
    base = os.path.abspath(os.path.expanduser(dataset_dir)) if dataset_dir else str(target.parent)
    content = {key: value for key, value in datalist.items() if key not in SECTIONS}
    for section, item in iterate_items(datalist):
        content.setdefault(section, []).append(_relative(item, base))
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise DatalistError(f"{path}: the datalist holds what JSON cannot hold: {error}.") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, text)


def _relative(item: Item, base: str) -> Item:
    paths = {key: Path(os.path.relpath(item[key], base)).as_posix() for key in PATH_KEYS if key in item}
    return {**item, **paths}
