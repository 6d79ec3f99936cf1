"""Checks a datalist: missing files, duplicates, photographs in two sections, grades off the scale."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from monai_retina_gen.data.datalist_format import PATH_KEYS, Item, Problems, iterate_items, why_missing
from monai_retina_gen.data.grades import read_grade
from monai_retina_gen.data.label_grades import ICDR_GRADE


def check_datalist(
    datalist: Mapping[str, Any],
    *,
    grades: Collection[int] = range(5),
    label_key: str = "grade",
    allow_missing: bool = False,
    check_content: bool = False,
) -> None:
    """Check a datalist and name everything that is wrong in one error.

    Args:
        datalist: datalist with absolute paths, as `load_datalist` returns it.
        grades: the grades there may be.
        label_key: key of the grade.
        allow_missing: accept paths of files that do not exist here.
        check_content: also look for photographs with the same bytes in two sections.

    Raises:
        DatalistError: no `image`, missing files, an image twice (also through a link), a `group` or content in two
            sections, or a grade that is none; up to ten of a kind are named.

    Examples:
        >>> item = {"image": "/data/a.png", "grade": 5, "group": "a"}
        >>> check_datalist({"training": [item]}, allow_missing=True)
        Traceback (most recent call last):
        ...
        monai_retina_gen.errors.DatalistError: Datalist: grade is not in [0, 1, 2, 3, 4]: ...
    """
    problems = Problems(f"Datalist {datalist.get('name', '')}".strip())
    items = list(iterate_items(datalist))
    for section, item in items:
        _note_bad_item(section, item, grades, label_key, problems)
    if not allow_missing:
        _note_missing_files((item for _, item in items), problems)
    _note_repeated_images((item for _, item in items), problems)
    _note_shared(((section, item.get("group")) for section, item in items), "group in several sections", problems)
    if check_content:
        paths = [(section, item["image"]) for section, item in items if os.path.isfile(str(item.get("image")))]
        _note_shared_content(paths, problems)
    problems.raise_any("Correct the datalist or the files.")


def _note_bad_item(section: str, item: Item, grades: Collection[int], label_key: str, problems: Problems) -> None:
    name = item.get("image", f"an item of {section}")
    if not isinstance(item.get("image"), str):
        problems.add("no path under the key 'image'", f"{section}: {item}")
    for key in (key for key in (label_key, ICDR_GRADE) if key in item):
        grade = read_grade(item, key, problems)
        if grade is not None and grade not in grades:
            problems.add(f"{key} is not in {list(grades)}", f"{name}: {grade}")


def _note_missing_files(items: Iterable[Item], problems: Problems) -> None:
    for item in items:
        for key in PATH_KEYS:
            if key in item and not os.path.isfile(str(item[key])):
                problems.add(f"missing file of key '{key}'{why_missing(str(item[key]))}", item[key])


def _note_repeated_images(items: Iterable[Item], problems: Problems) -> None:
    seen: set[str] = set()
    for item in items:
        path = os.path.realpath(str(item.get("image")))  # a link to a listed file is the same photograph
        if "image" in item and path in seen:
            problems.add("image listed more than once", item["image"])
        seen.add(path)


def _note_shared(pairs: Iterable[tuple[str, Any]], kind: str, problems: Problems) -> None:
    sections: dict[Any, set[str]] = defaultdict(set)
    for section, value in pairs:
        if value is not None:
            sections[str(value)].add(section)
    for value, where in sections.items():
        if len(where) > 1:
            problems.add(kind, f"{value} in {' and '.join(sorted(where))}")


def _note_shared_content(paths: list[tuple[str, str]], problems: Problems) -> None:
    section_of = {path: section for section, path in paths}
    for copies in same_content(list(section_of)):
        sections = sorted({section_of[path] for path in copies})
        if len(sections) > 1:
            problems.add("same content in several sections", f"{' = '.join(copies)} in {' and '.join(sections)}")


def same_content(paths: Iterable[str]) -> list[list[str]]:
    """Groups of files with identical bytes; only files of equal size are read."""
    by_size: dict[Any, list[str]] = defaultdict(list)
    for path in paths:
        by_size[os.path.getsize(path)].append(path)
    by_digest: dict[Any, list[str]] = defaultdict(list)
    for path in (path for alike in by_size.values() if len(alike) > 1 for path in alike):
        by_digest[file_sha256(path)].append(path)
    return [copies for copies in by_digest.values() if len(copies) > 1]


def file_sha256(path: str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
