"""Photographs listed in a CSV table of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from monai_retina_gen.data.datalist_format import (
    MASK_KEYS,
    SECTIONS,
    Datalist,
    Item,
    Problems,
    absolute_path,
    existing_folder,
    make_datalist,
    why_missing,
)
from monai_retina_gen.data.splitting import FRACTIONS, group_identical_files, require_items, split_by_group
from monai_retina_gen.data.tables import IMAGE_SUFFIXES, note_repeated, parse_grade, read_header, read_table
from monai_retina_gen.errors import DatalistError

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
    folder = existing_folder(dataset_dir, "csv_datalist")
    masks = dict(mask_columns or {})
    named = [image_column, label_column, group_column, split_column, *masks.values()]
    rows = read_table(csv, [column for column in named if column is not None])
    require_items(rows, csv, "one row per photograph")
    problems = Problems(str(csv))
    items = [_item(row, folder, row[image_column], image_suffix, masks, problems) for row in rows]
    note_repeated((item["image"] for item in items), "file in two rows", problems)
    for item, row in zip(items, rows, strict=True):
        # the path as the table has it, so that the split is the same wherever the photographs lie
        item["group"] = row[group_column] if group_column else os.path.splitext(row[image_column])[0]
        if not item["group"]:
            problems.add(f"no value in column {group_column or image_column}", item["image"])
        if label_column and row[label_column]:
            item["grade"] = parse_grade(row[label_column], item["image"], problems)
    problems.raise_any("Correct the table or the files.")
    return split_table(
        items, rows, csv, "Photographs", split_column, fractions, seed, patients=group_column is not None
    )


def _item(
    row: Mapping[str, str], folder: Path, image: str, suffix: str, masks: Mapping[str, str], problems: Problems
) -> Item:
    paths = {"image": image + suffix, **{key: row[column] for key, column in masks.items() if row[column]}}
    item: Item = {key: absolute_path(folder, path) for key, path in paths.items()}
    for key, path in item.items():
        if not os.path.isfile(path):
            problems.add(f"missing file of key '{key}'{why_missing(path) or _named_by_id(path, suffix)}", path)
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
    split_column: str | None,
    fractions: Sequence[float],
    seed: int,
    *,
    patients: bool,
) -> Datalist:
    """The datalist of a table's items, split by a column of its rows, or by group; identical files are one group."""
    if not patients:
        group_identical_files(items)
    if split_column:
        sections, how = _split_by_column(items, rows, split_column, csv), f"by column {split_column}"
    else:
        sections, how = split_by_group(items, fractions, seed=seed), f"by group, seed {seed}"
    return make_datalist(
        sections,
        name=Path(csv).stem,
        description=f"{what} of {Path(csv).name}, split {how}.",
        licence="unknown: that of the photographs",
        patients_known=patients,
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


# key of the datalist: argument of `csv_datalist`
CSV_COLUMNS = {"image": "image_column", "grade": "label_column", "group": "group_column", "split": "split_column"}


def read_standard_csv(
    path: Path, dataset_dir: str | os.PathLike[str], columns: Mapping[str, str] | None = None, *, image_suffix: str = ""
) -> Datalist:
    """Read a CSV table whose columns have the names of the datalist's keys, or those that `columns` gives them by key.

    `DatalistError` for a key or column that there is not, and what `csv_datalist` finds.
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
