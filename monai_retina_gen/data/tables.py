"""Reads label tables (CSV) and image folders, and names what does not fit in them."""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from monai_retina_gen.data.datalist_format import Problems, listed
from monai_retina_gen.data.dicom_io import is_dicom
from monai_retina_gen.data.grades import grade_of
from monai_retina_gen.errors import DatalistError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom", ".nii", ".nii.gz")
_BESIDE = (".csv", ".json", ".txt", ".md", ".xlsx", ".xml", ".html", ".log", ".db", ".ini")  # no photographs
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, .ods and .xls
GRADES = range(5)


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
    return [_as_dict(header, row) for row in rows]


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


def _as_dict(header: list[str], row: list[str]) -> dict[str, str]:
    cells = row + [""] * (len(header) - len(row))
    return {name: cell for name, cell in zip(header, cells, strict=False) if name}


def parse_grade(text: str, name: str, problems: Problems) -> int | None:
    """Grade 0-4 from a cell; a cell that is none is noted in `problems` under `name`."""
    try:
        grade = grade_of(text)
    except ValueError:
        grade = -1
    if grade in GRADES:
        return grade
    problems.add("grade is not one of 0, 1, 2, 3, 4", f"{name}: {text!r}")
    return None


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
