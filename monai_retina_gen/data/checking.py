"""Checks a datalist: missing files, duplicates, photographs in two sections, grades off the scale."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from tqdm import tqdm

from monai_retina_gen.data.datalist_format import GRADES, PATH_KEYS, Item, Problems, iterate_items, listed, why_missing
from monai_retina_gen.data.files import sha256_file
from monai_retina_gen.data.grades import ICDR_GRADE, read_grade
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.errors import ImageFileError


def check_datalist(
    datalist: Mapping[str, Any],
    *,
    grades: Collection[int] = GRADES,
    label_key: str = "grade",
    allow_missing: bool = False,
    check_content: bool = False,
) -> None:
    """Check a datalist and name everything that is wrong in one `DatalistError`, up to ten of a kind.

    That is: no `image`, missing files (unless `allow_missing`), an image twice (also through a link), a `group` in two
    sections (with `check_content` also photographs of equal bytes), or a grade that is not in `grades`.
    """
    problems = Problems(f"Datalist {datalist.get('name', '')}".strip())
    items = list(iterate_items(datalist))
    seen: set[str] = set()
    for section, item in items:
        _note_bad_item(section, item, grades, label_key, problems)
        for key in () if allow_missing else PATH_KEYS:
            if key in item and not os.path.isfile(str(item[key])):
                problems.add(f"missing file of key '{key}'{why_missing(str(item[key]))}", item[key])
        path = os.path.realpath(str(item.get("image")))  # a link to a listed file is the same photograph
        if "image" in item and path in seen:
            problems.add("image listed more than once", item["image"])
        seen.add(path)
    _note_shared(((section, item.get("group")) for section, item in items), "group in several sections", problems)
    if check_content:
        _note_shared_content({str(item.get("image")): section for section, item in items}, problems)
    problems.raise_any("Correct the datalist or the files.")


def _note_bad_item(section: str, item: Item, grades: Collection[int], label_key: str, problems: Problems) -> None:
    name = item.get("image", f"an item of {section}")
    if not isinstance(item.get("image"), str):
        problems.add("no path under the key 'image'", f"{section}: {item}")
    for key in (key for key in (label_key, ICDR_GRADE) if key in item):
        grade = read_grade(item, key, problems)
        if grade is not None and grade not in grades:
            problems.add(f"{key} is not in {list(grades)}", f"{name}: {grade}")


def _note_shared(pairs: Iterable[tuple[str, Any]], kind: str, problems: Problems) -> None:
    sections: dict[Any, set[str]] = defaultdict(set)
    for section, value in pairs:
        if value is not None:
            sections[str(value)].add(section)
    for value, where in sections.items():
        if len(where) > 1:
            problems.add(kind, f"{value} in {' and '.join(sorted(where))}")


def _note_shared_content(section_of: Mapping[str, str], problems: Problems) -> list[list[str]]:
    """Note content that lies in several sections; returns all files of one content, by path."""
    found = same_content(path for path in section_of if os.path.isfile(path))
    for copies in found:
        sections = sorted({section_of[path] for path in copies})
        if len(sections) > 1:
            problems.add("same content in several sections", f"{' = '.join(copies)} in {' and '.join(sections)}")
    return found


def same_content(paths: Iterable[str]) -> list[list[str]]:
    """Groups of files with identical bytes; only files of equal size are read."""
    by_size: dict[Any, list[str]] = defaultdict(list)
    for path in paths:
        by_size[os.path.getsize(path)].append(path)
    by_digest: dict[Any, list[str]] = defaultdict(list)
    for path in (path for alike in by_size.values() if len(alike) > 1 for path in alike):
        by_digest[sha256_file(path)].append(path)
    return [copies for copies in by_digest.values() if len(copies) > 1]


SAME = 0.105
"""Share of the bits that may differ between two files of one photograph.

On IDRiD (597 files of 531 photographs, 256 px): files of one photograph differ in at most 4.9 % (68 pairs), the same
resized to 200 x 300 with a wider ground or darkened by 15 % in at most 7.6 %, other photographs in at least 11.9 %.
Phantoms of 140 px can differ in a little more than 9.5 % from the same at their own size.
"""

_SIDE = 32
_AROUND = 5  # pixels a side that brightness is compared with
_DARK = 0.12
_LIT = 0.05  # share of a row or column that has to be lit
_ROWS = 2048  # compared at a time
_BLACK = 0.05  # largest value of a photograph that shows nothing
_STARTS = {
    b"\x89PNG": (".png",),
    b"\xff\xd8\xff": (".jpg", ".jpeg"),
    b"II*\0": (".tif", ".tiff"),
    b"MM\0*": (".tif", ".tiff"),
    b"BM": (".bmp",),
    b"RIFF": (".webp",),
}


def perceptual_hash(image: torch.Tensor) -> torch.Tensor:
    """Bits (556,) of a photograph (3, H, W) in [0, 1], as a bool tensor."""
    green = F.interpolate(_lit(image)[1][None, None], size=(_SIDE, _SIDE), mode="area")
    around = F.avg_pool2d(green, _AROUND, 1, _AROUND // 2, count_include_pad=False)
    along = torch.linspace(-1, 1, _SIDE)
    return (green > around)[0, 0][along[:, None] ** 2 + along**2 < 0.75]


def _lit(image: torch.Tensor) -> torch.Tensor:
    """The image within the rows and columns that are lit."""
    lit = (image.amax(0) > _DARK).float()
    spans = [(lit.mean(axis) > _LIT).nonzero().flatten().tolist() for axis in (1, 0)]
    if not all(spans):
        return image
    (top, *_, bottom), (left, *_, right) = ([span[0], *span] for span in spans)
    return image[:, top : bottom + 1, left : right + 1]


def look_alikes(hashes: Mapping[str, torch.Tensor], *, same: float = SAME) -> list[tuple[str, str]]:
    """Pairs of names whose bits differ in at most the share `same`, in the order of the names given."""
    names = list(hashes)
    if len(names) < 2:
        return []
    signs = torch.stack([hashes[name] for name in names]).float() * 2 - 1
    pairs: list[tuple[str, str]] = []
    for start in range(0, len(names), _ROWS):
        agreement = signs[start : start + _ROWS] @ signs.T / signs.shape[1]
        for row, column in (agreement >= 1 - 2 * same).nonzero().tolist():
            if start + row < column:
                pairs.append((names[start + row], names[column]))
    return pairs


@dataclass(frozen=True)
class _Opened:
    error: str = ""
    blank: bool = False
    suffixes: tuple[str, ...] = ()  # those of its content, where its own is another
    bits: torch.Tensor | None = None


def check_photographs(datalist: Mapping[str, Any], *, progress: bool = False) -> None:
    """Open all photographs of a datalist and name everything that is wrong with them in one error.

    Args:
        datalist: datalist with absolute paths, as `load_datalist` returns it.
        progress: show a bar.

    Raises:
        DatalistError: files that cannot be read, are black or of one colour, or have one content in several sections.

    Warns:
        UserWarning: a suffix that is not that of the content, one content listed several times in a section, and
            photographs of different groups that look alike, such as copies saved again.

    Examples:
        >>> import tempfile
        >>> from monai_retina_gen.data import write_image
        >>> file = f"{tempfile.mkdtemp()}/eye.png"
        >>> write_image(file, torch.zeros(3, 32, 32))
        >>> check_photographs({"training": [{"image": file}]})
        Traceback (most recent call last):
        ...
        monai_retina_gen.errors.DatalistError: Datalist: shows nothing (black, or one colour): 1 (.../eye.png). ...
    """
    items = {str(item["image"]): (section, item) for section, item in iterate_items(datalist)}
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        opening = pool.map(_open, items)
        bar = tqdm(opening, total=len(items), desc="check", unit="photograph", disable=not progress)
        opened = dict(zip(items, bar, strict=True))
    problems = Problems(f"Datalist {datalist.get('name', '')}".strip())
    for path, found in opened.items():
        if found.error:
            problems.add("cannot be read", found.error)
        elif found.blank:
            problems.add("shows nothing (black, or one colour)", path)
    copies = _note_shared_content({path: section for path, (section, _) in items.items()}, problems)
    problems.raise_any("Repair the files, or leave them out of the datalist.")
    _warn(items, opened, copies)


def _open(path: str) -> _Opened:
    try:
        image = read_image(path)
    except ImageFileError as error:
        return _Opened(error=str(error))
    except OSError as error:
        return _Opened(error=f"{path}: {error}")
    blank = bool(image.max() <= _BLACK) or float(image.std(dim=(1, 2)).max()) < 1e-3
    return _Opened(blank=blank, suffixes=_other_suffixes(path), bits=perceptual_hash(image))


def _other_suffixes(path: str) -> tuple[str, ...]:
    with open(path, "rb") as file:
        start = file.read(4)
    right = next((suffixes for mark, suffixes in _STARTS.items() if start.startswith(mark)), ())
    return () if Path(path).suffix.lower() in right else right


def _warn(
    items: Mapping[str, tuple[str, Mapping[str, Any]]], opened: Mapping[str, _Opened], copies: list[list[str]]
) -> None:
    known = {path: number for number, paths in enumerate(copies) for path in paths}
    hashes = {path: found.bits for path, found in opened.items() if found.bits is not None}
    alike = [
        f"{first} ({items[first][0]}) = {second} ({items[second][0]})"
        for first, second in look_alikes(hashes)
        if items[first][1].get("group", first) != items[second][1].get("group", second)
        and known.get(first, -1) != known.get(second, -2)
    ]
    misnamed = [f"{path} holds {found.suffixes[0]}" for path, found in opened.items() if found.suffixes]
    for kind, names, advice in (
        ("Suffix that is not that of the content", misnamed, ""),
        ("Same content more than once", [" = ".join(paths) for paths in copies], ""),
        ("Photographs of different groups that look alike", alike, " Give copies one group."),
    ):
        if names:
            warnings.warn(f"{kind}: {listed(names)}.{advice}", UserWarning, stacklevel=3)
