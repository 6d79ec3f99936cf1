"""Photographs listed in a CSV table of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from monai_retina_gen.data.datalist_format import (
    IMAGE_SUFFIXES,
    MASK_KEYS,
    SECTIONS,
    Datalist,
    Item,
    Problems,
    absolute_path,
    existing_folder,
    make_datalist,
    note_repeated,
    read_header,
    read_table,
    why_missing,
)
from monai_retina_gen.data.grades import parse_grade
from monai_retina_gen.data.splitting import FRACTIONS, group_identical_files, require_items, split_by_group
from monai_retina_gen.errors import DatalistError

KEYS = ("image", "grade", "group", "split")
SPLIT_NAMES = {"train": "training", "val": "validation", "valid": "validation"} | {name: name for name in SECTIONS}


def csv_datalist(
    csv: str | os.PathLike[str],
    dataset_dir: str | os.PathLike[str],
    image_column: str = "image",
    label_column: str | None = "grade",
    group_column: str | None = None,
    split_column: str | None = None,
    *,
    mask_columns: Mapping[str, str] | None = None,
    image_suffix: str = "",
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> Datalist:
    """Read a CSV table with one row per photograph.

    Args:
        csv: the table, UTF-8, with a header row.
        dataset_dir: folder that the paths in the table are relative to.
        image_column: column with the path of the photograph.
        label_column: column with the grade 0-4, empty where there is none; None where nothing is graded.
        group_column: column with the patient; without it photographs with identical bytes form one group.
        split_column: column with `train`, `val` or `test` (or the sections' names); without it the
            photographs are split by group, with the grades spread evenly.
        mask_columns: column with the path of a mask, by mask key, for example `{"ex": "exudates"}`.
        image_suffix: what to add to `image_column`, for example `.png` where it holds an id.
        fractions: shares of training, validation and test.
        seed: seed of the split.

    Raises:
        DatalistError: an unreadable table, a missing column (with those that there are), a missing or
            repeated file, a grade outside 0-4, an unknown split, or one group in two sections.
    """
    named = {"image": image_column, "grade": label_column, "group": group_column, "split": split_column}
    columns = {key: column for key, column in named.items() if column is not None} | dict(mask_columns or {})
    return _read(csv, dataset_dir, columns, image_suffix, fractions, seed)


def _read(
    csv: str | os.PathLike[str],
    dataset_dir: str | os.PathLike[str],
    columns: Mapping[str, str],
    image_suffix: str,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> Datalist:
    """Read a table whose columns are named by key."""
    folder = existing_folder(dataset_dir, "csv_datalist")
    rows = read_table(csv, list(columns.values()))
    require_items(rows, csv, "one row per photograph")
    problems = Problems(str(csv))
    items = [read_item(row, folder, columns, problems, image_suffix) for row in rows]
    note_repeated((item["image"] for item in items), "file in two rows", problems)
    for item, row in zip(items, rows, strict=True):
        if not item["group"]:
            problems.add(f"no value in column {columns.get('group', columns['image'])}", item["image"])
        if text := row[columns["grade"]] if "grade" in columns else "":
            item["grade"] = parse_grade(text, item["image"], problems)
    problems.raise_any("Correct the table or the files.")
    return split_table(items, rows, csv, "Photographs", columns, fractions, seed)


def read_item(
    row: Mapping[str, str], folder: Path, columns: Mapping[str, str], problems: Problems, suffix: str = ""
) -> Item:
    """Paths and group of a row, whose columns are named by key; what is missing is noted."""
    name = row[columns["image"]]
    masks = {key: row[column] for key, column in columns.items() if key not in KEYS and row[column]}
    item: Item = {key: absolute_path(folder, path) for key, path in {"image": name + suffix, **masks}.items()}
    for key, path in item.items():
        if not os.path.isfile(path):
            problems.add(f"missing file of key '{key}'{why_missing(path) or _named_by_id(path, suffix)}", path)
    # the path as the table has it, so that the split is the same wherever the photographs lie
    item["group"] = row[columns["group"]] if "group" in columns else os.path.splitext(name)[0]
    return item


def _named_by_id(path: str, suffix: str) -> str:
    """What to add to "missing file" where the table holds ids, and a file of that name has a suffix."""
    bare = path.removesuffix(suffix)
    found = next((known for known in IMAGE_SUFFIXES if os.path.isfile(bare + known)), None)
    return "" if found is None else f" (there is one with {found}: --image-suffix {found}, in Python image_suffix)"


def split_table(
    items: Sequence[Item],
    rows: Sequence[Mapping[str, str]],
    csv: str | os.PathLike[str],
    what: str,
    columns: Mapping[str, str],
    fractions: Sequence[float],
    seed: int,
) -> Datalist:
    """The datalist of a table's items, split by a column of its rows, or by group; identical files are one group."""
    if "group" not in columns:
        group_identical_files(items)
    if "split" in columns:
        sections, how = _split_by_column(items, rows, columns["split"], csv), f"by column {columns['split']}"
    else:
        sections, how = split_by_group(items, fractions, seed=seed), f"by group, seed {seed}"
    return make_datalist(
        sections,
        name=Path(csv).stem,
        description=f"{what} of {Path(csv).name}, split {how}.",
        licence="unknown: that of the photographs",
        patients_known="group" in columns,
    )


def _split_by_column(
    items: Sequence[Item], rows: Sequence[Mapping[str, str]], column: str, csv: str | os.PathLike[str]
) -> dict[str, list[Item]]:
    sections: dict[str, list[Item]] = {section: [] for section in SECTIONS}
    problems = Problems(str(csv))
    section_of: dict[str, str] = {}
    for item, row in zip(items, rows, strict=True):
        section = SPLIT_NAMES.get(row[column].lower())
        if section is None:
            problems.add("split is not train, val or test", f"{item['image']}: {row[column]!r}")
        elif section_of.setdefault(item["group"], section) != section:
            problems.add("group in several sections", item["group"])
        else:
            sections[section].append(item)
    problems.raise_any("Correct the table.")
    return sections


def read_standard_csv(
    path: Path, dataset_dir: str | os.PathLike[str], columns: Mapping[str, str] | None = None, *, image_suffix: str = ""
) -> Datalist:
    """Read a CSV table whose columns have the names of the datalist's keys, or those that `columns` gives them by key.

    `DatalistError` for a key or column that there is not, and what `csv_datalist` finds.
    """
    header, named = read_header(path), dict(columns or {})
    unknown = [key for key in named if key not in (*KEYS, *MASK_KEYS)]
    if unknown:
        raise DatalistError(f"columns {unknown}: no such key; there are {', '.join([*KEYS, *MASK_KEYS])}.")
    missing = [column for column in [named.get("image", "image"), *named.values()] if column not in header]
    if missing:
        raise DatalistError(
            f"{path}: no column {missing[0]!r}; its columns are {header}. Rename them to image, grade, group (the "
            f"patient) and split, or say which is which: datalist TABLE.csv --columns image=NAME grade=NAME "
            f"(csv_datalist in Python)."
        )
    present = {key: named.get(key, key) for key in (*KEYS, *MASK_KEYS) if named.get(key, key) in header}
    return _read(path, dataset_dir, present, image_suffix)
