"""The form that every reader returns, MONAI's decathlon datalist, and what readers read: label tables and folders.

A datalist has the sections training, validation and test. What does not fit in a table or folder is named.
"""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from monai_retina_gen.data.dicom_io import is_dicom
from monai_retina_gen.data.names import LATE_SIGNS, STRUCTURES
from monai_retina_gen.errors import DatalistError

SHOWN = 10
Item = dict[str, Any]
Datalist = dict[str, Any]
SECTIONS = ("training", "validation", "test")
MASK_KEYS = (*STRUCTURES, "vessel2", "fov", *LATE_SIGNS)
PATH_KEYS = ("image", *MASK_KEYS)
GRADES = range(5)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom", ".nii", ".nii.gz")
_BESIDE = (".csv", ".json", ".txt", ".md", ".xlsx", ".xml", ".html", ".log", ".db", ".ini")  # no photographs
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .ods and .xls


class Problems:
    """Names by kind of problem; raises one `DatalistError` with the count and ten names of each kind."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self._names: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, name: object) -> None:
        """Note one more `name` (a file, a row, a value) with the problem `kind`."""
        self._names[kind].append(str(name))

    def raise_any(self, advice: str) -> None:
        """Raise a `DatalistError` that ends with `advice`, unless nothing was noted."""
        if self._names:
            found = "; ".join(f"{kind}: {listed(names)}" for kind, names in self._names.items())
            raise DatalistError(f"{self.subject}: {found}. {advice}")


def listed(names: list[str]) -> str:
    """`2 (a, b)`; only the first ten names are written out."""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{more})"


def make_datalist(
    sections: Mapping[str, Sequence[Item]], *, name: str, description: str, licence: str, patients_known: bool
) -> Datalist:
    """A datalist of sections, with where it comes from and whether its `group` names patients or photographs alone."""
    unknown = " Patients are unknown: the split is by photograph, two eyes of one patient can fall on both sides."
    return {
        "name": name,
        "description": description if patients_known else description + unknown,
        "licence": licence,
        "patients": "known" if patients_known else "unknown",
        **{section: list(sections.get(section, ())) for section in SECTIONS},
    }


def iterate_items(datalist: Mapping[str, Any]) -> Iterator[tuple[str, Item]]:
    """Yield `(section, item)` over the sections that a datalist has."""
    for section in SECTIONS:
        for item in datalist.get(section, ()):
            yield section, item


def absolute_path(base: str | os.PathLike[str], path: str) -> str:
    """Absolute path of a table's or datalist's entry; relative ones start from `base`, `~` is the user's home.

    Where `/` separates, an entry with backslashes that names no file is a path as Windows writes it.
    """
    whole = os.path.abspath(os.path.join(os.path.expanduser(base), os.path.expanduser(path)))
    if "\\" in path and os.sep == "/" and not os.path.exists(whole) and not re.match(r"[A-Za-z]:", path):
        return absolute_path(base, path.replace("\\", "/"))
    return whole


def why_missing(path: str) -> str:
    """What to add to "missing file" where the path itself says the cause."""
    return " (a path of a Windows drive: give it as it is called here)" if re.search(r"(^|/)[A-Za-z]:\\", path) else ""


def existing_folder(root: str | os.PathLike[str], what: str) -> Path:
    """Absolute path of a data set's folder; a `DatalistError` that names it where it is absent."""
    folder = Path(os.path.abspath(Path(root).expanduser()))
    if not folder.is_dir():
        raise DatalistError(f"{what}: no such folder: {folder}. Give the folder that holds the data set.")
    return folder


def read_table(path: str | os.PathLike[str], columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a CSV file (UTF-8, with or without byte order mark) with a header row into one dict per row.

    Cells are parted by commas, or by what the header holds more of: semicolons, as spreadsheets write where the comma
    is the decimal sign, or tabs. `DatalistError` for no such file, no text table, a column of `columns` that is missing
    or there twice, or a row with more cells than the header.
    """
    header, *rows = _read_rows(Path(path))
    missing = [column for column in columns if column not in header]
    if missing:
        raise DatalistError(f"{path}: no column {missing}; its columns are {header}.")
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise DatalistError(f"{path}: column {twice} appears twice in the header; rename one of them.")
    return [{name: cell for name, cell in zip_longest(header, row, fillvalue="") if name} for row in rows]


def read_header(path: str | os.PathLike[str]) -> list[str]:
    """Column names of a CSV file."""
    return _read_rows(Path(path))[0]


def _read_rows(path: Path) -> list[list[str]]:
    if not path.is_file():
        raise DatalistError(f"No such table: {path}. Give the CSV file with one row per photograph.")
    content = path.read_bytes()
    if content.startswith(_WORKBOOKS):
        raise DatalistError(f"{path} is a workbook (.xlsx, .xls or .ods): save its sheet as CSV in UTF-8, give that.")
    try:
        text = content.decode("utf-8-sig")
        if "\0" in text:  # csv of Python 3.11 and later takes NUL as text
            raise csv.Error("it holds NUL bytes")
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        rows = [[cell.strip() for cell in row] for row in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatalistError(f"{path} cannot be read as a CSV table in UTF-8: {error}. Save it as UTF-8 CSV.") from error
    rows = [row for row in rows if any(row)]
    if not rows:
        raise DatalistError(f"{path} is empty: a header row and one row per photograph are wanted.")
    for number, row in enumerate(rows[1:], start=1):
        if any(row[len(rows[0]) :]):
            raise DatalistError(f"{path}: data row {number} has {len(row)} cells, the header {len(rows[0])}: {row}.")
    return rows


def _delimiter(text: str) -> str:
    """What parts the cells of the header: the comma unless semicolons or tabs are more."""
    header = re.sub('"[^"]*"', "", text.lstrip().split("\n", 1)[0])
    return max(",;\t", key=header.count)


def note_repeated(names: Iterable[str], kind: str, problems: Problems) -> None:
    """Note every name that appears more than once."""
    for name, count in Counter(names).items():
        if count > 1:
            problems.add(kind, name)


def image_files(folder: Path) -> dict[str, str]:
    """Absolute path by file name of the images directly in `folder`, without hidden files, sorted."""
    if not folder.is_dir():
        raise DatalistError(f"No such image folder: {folder}.")
    return {path.name: str(path) for path in sorted(folder.iterdir()) if is_image_file(path)}


def is_image_file(path: Path) -> bool:
    """Whether a file's name, or a DICOM file's content where it has no suffix, says that it is a picture we read."""
    if not path.is_file() or path.name.startswith("."):
        return False
    return path.name.lower().endswith(IMAGE_SUFFIXES) or (not path.suffix and is_dicom(path))


def warn_unread(folder: Path, files: Sequence[Path]) -> None:
    """Name the files that are left out because no reader takes them (.gif, .heic, .jp2 and the like)."""
    left = [path for path in files if path.is_file() and not is_image_file(path)]
    unread = [p for p in left if not p.name.startswith(".") and not p.name.lower().endswith(_BESIDE)]
    if unread:
        names = listed(sorted(str(path.relative_to(folder)) for path in unread))
        warnings.warn(
            f"{folder}: left out, not one of {', '.join(IMAGE_SUFFIXES)}: {names}.", UserWarning, stacklevel=3
        )


def warn_without_row(unlisted: Collection[str], table: str | os.PathLike[str]) -> None:
    """Say how many files have no row in the table and are left out."""
    if unlisted:
        warnings.warn(f"Left out, no row in {table}: {listed(sorted(unlisted))}.", UserWarning, stacklevel=3)
