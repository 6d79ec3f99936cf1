"""The form that every reader returns: MONAI's decathlon datalist with training, validation and test."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_retina_gen.data.names import LATE_SIGNS, STRUCTURES
from monai_retina_gen.errors import DatalistError

SHOWN = 10
Item = dict[str, Any]
Datalist = dict[str, Any]
SECTIONS = ("training", "validation", "test")
MASK_KEYS = (*STRUCTURES, "vessel2", "fov", *LATE_SIGNS)
PATH_KEYS = ("image", *MASK_KEYS)


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
