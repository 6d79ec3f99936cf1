"""Photographs with the votes of several readers: reference label or majority, and the share of readers who agree."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from monai_retina_gen.data.csv_list import KEYS, read_item, split_table
from monai_retina_gen.data.datalist_format import (
    GRADES,
    SECTIONS,
    Datalist,
    Item,
    Problems,
    existing_folder,
    note_repeated,
    read_table,
)
from monai_retina_gen.data.splitting import FRACTIONS, require_items
from monai_retina_gen.errors import DatalistError


def selection_rate(votes: Sequence[object], label: object) -> float:
    """Share of votes that agree with the label, in [0, 1].

    Raises:
        ValueError: without a vote.

    Examples:
        >>> selection_rate(["normal", "exotropia", "exotropia"], "exotropia")
        0.6666666666666666
    """
    if not votes:
        raise ValueError("votes is empty: a selection rate needs at least one reader")
    return sum(vote == label for vote in votes) / len(votes)


class SelectionRateFilter:
    """Keeps the photographs on whose label enough readers agree: `selection_rate >= threshold`.

    Args:
        threshold: share of readers in [0, 1]; 0 keeps all.
        sections: sections of a datalist that are cut. By default only the training photographs: what judges a model
            must not get easier with the threshold.

    Raises:
        ValueError: for a threshold outside [0, 1].
        DatalistError: on a call, for an unknown section, or an item of a cut section without a selection rate.

    Examples:
        >>> items = [{"image": "a.png", "selection_rate": 0.6}, {"image": "b.png", "selection_rate": 0.5}]
        >>> [item["image"] for item in SelectionRateFilter(0.6)(items)]
        ['a.png']
    """

    def __init__(self, threshold: float, *, sections: Sequence[str] = ("training",)) -> None:
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            raise ValueError(f"threshold={threshold!r}: a share of readers in [0, 1] is wanted, such as 0.6")
        unknown = [section for section in sections if section not in SECTIONS]
        if unknown:
            raise DatalistError(f"sections: {unknown} came; the sections of a datalist are {', '.join(SECTIONS)}")
        self.threshold, self.sections = float(threshold), tuple(sections)

    @overload
    def __call__(self, data: Sequence[Item]) -> list[Item]: ...

    @overload
    def __call__(self, data: Mapping[str, Any]) -> Datalist: ...

    def __call__(self, data: Sequence[Item] | Mapping[str, Any]) -> list[Item] | Datalist:
        """The items that are kept, in their order; of a datalist a copy whose `sections` are cut."""
        if not isinstance(data, Mapping):
            return self._kept(data)
        return {key: self._kept(value) if key in self.sections else value for key, value in data.items()}

    def _kept(self, items: Sequence[Item]) -> list[Item]:
        problems = Problems("SelectionRateFilter")
        for index, item in enumerate(items):
            rate = item.get("selection_rate")
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                problems.add("no selection_rate in [0, 1]", f"{item.get('image', f'item {index}')}: {rate!r}")
        problems.raise_any("Make the datalist from the readers' votes with votes_datalist.")
        return [item for item in items if item["selection_rate"] >= self.threshold]


REFERENCES = ("label", "grade")
OTHER_COLUMNS = ("image", "group", "split", *REFERENCES)


Row = Mapping[str, str]


def read_votes(csv: str | os.PathLike[str], readers: Sequence[str] | None = None) -> list[tuple[Row, list[str]]]:
    """Cells that are no votes, by column, and votes of every photograph of a table in either form.

    See `votes_datalist`.
    """
    rows = read_table(csv, ["image", *(readers or ())])
    if rows and "reader" in rows[0] and readers is None:
        return _read_by_vote(rows, csv)
    return _read_by_photograph(rows, readers, csv)


def _read_by_photograph(
    rows: Sequence[Row], readers: Sequence[str] | None, csv: str | os.PathLike[str]
) -> list[tuple[Row, list[str]]]:
    """One row per photograph: `image,<reader>,<reader>,...`."""
    names = list(readers or [name for name in (rows[0] if rows else ()) if name not in OTHER_COLUMNS])
    if rows and not names:
        raise DatalistError(f"{csv}: no column of a reader; its columns are {list(rows[0])}.")
    problems = Problems(str(csv))
    note_repeated((row["image"] for row in rows), "photograph in two rows", problems)
    problems.raise_any("Keep one row per photograph, or one per vote with the columns image, reader and label.")
    others = [{name: row[name] for name in OTHER_COLUMNS if name in row} for row in rows]
    return [(cells, [row[name] for name in names if row[name]]) for cells, row in zip(others, rows, strict=True)]


def _read_by_vote(rows: Sequence[Row], csv: str | os.PathLike[str]) -> list[tuple[Row, list[str]]]:
    """One row per vote: `image,reader,label`; the other cells of a photograph must agree in all its rows."""
    column = "vote" if "vote" in rows[0] else "label"
    if column not in rows[0]:
        raise DatalistError(f"{csv}: one row per vote needs a column label or vote; its columns are {list(rows[0])}.")
    problems = Problems(str(csv))
    found: dict[str, tuple[Row, dict[str, str]]] = {}
    for row in rows:
        cells = {name: row[name] for name in OTHER_COLUMNS if name in row and name != column}
        known, votes = found.setdefault(row["image"], (cells, {}))
        if known != cells:
            problems.add("rows of one photograph that differ in label, grade, group or split", row["image"])
        if row["reader"] in votes:
            problems.add("two votes of one reader", f"{row['image']}: {row['reader']}")
        if row[column]:
            votes[row["reader"]] = row[column]
    problems.raise_any("Correct the table.")
    return [(cells, list(votes.values())) for cells, votes in found.values()]


NUMBER = re.compile(r"[+-]?[0-9]+(\.0+)?", re.ASCII)


def votes_datalist(
    csv: str | os.PathLike[str],
    dataset_dir: str | os.PathLike[str],
    *,
    readers: Sequence[str] | None = None,
    min_readers: int = 1,
    graded: bool = True,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> Datalist:
    """Read a CSV table of readers' votes into a datalist whose items know their selection rate.

    The table has one row per photograph (`image,reader1,reader2,...`, one label a reader, an empty cell where a
    reader gave none), or one row per vote (`image,reader,label`, or `image,reader,vote`). A column `label` or `grade`
    with the reference label is optional (in the form `image,reader,label` it is `grade`): without one the majority of
    the votes is the label. Columns `group` and `split` are read as `csv_datalist` does. Labels may be any words: they
    are sorted and numbered. Where all of them are grades 0-4 they stay what they are.

    Args:
        csv: the table, UTF-8, with a header row.
        dataset_dir: folder that the paths in the table are relative to.
        readers: in a table with one row per photograph, the columns that are readers; by default all others.
        min_readers: a photograph with fewer votes is an error.
        graded: give the items grades, the numbers of their labels, of which there may be five.
        fractions: shares of training, validation and test where the table has no column `split`.
        seed: seed of that split.

    Returns:
        Datalist with `classes`, the labels by number; items have `label`, `votes`, `selection_rate` (the share of votes
        that agree with the label) and, where graded, `grade`.

    Raises:
        DatalistError: an unreadable table, missing columns or files, too few votes, a tie without a reference label,
            two votes of a reader on one photograph, or more than five classes.
    """
    folder = existing_folder(dataset_dir, "votes_datalist")
    if min_readers < 1:
        raise DatalistError(f"min_readers={min_readers}: at least 1 is wanted; a rate of no votes is undefined.")
    photographs = read_votes(csv, readers)
    problems = Problems(str(csv))
    items = [_item(cells, votes, folder, min_readers, problems) for cells, votes in photographs]
    require_items(items, csv, "one row per photograph or per vote")
    note_repeated((item["image"] for item in items), "file in two rows", problems)
    problems.raise_any("Correct the table or the files.")
    classes = _number_labels(items, graded, csv)
    cells = [each for each, _ in photographs]
    what, columns = "Photographs and readers' votes", {key: key for key in KEYS if key in cells[0]}
    return {**split_table(items, cells, csv, what, columns, fractions, seed), "classes": classes}


def _item(cells: Row, votes: list[str], folder: Path, min_readers: int, problems: Problems) -> Item:
    item = read_item(cells, folder, {key: key for key in KEYS if key in cells}, problems)
    if not item["group"]:
        problems.add("no value in column group", cells["image"])
    if len(votes) < min_readers:
        problems.add(f"fewer votes than min_readers={min_readers}", f"{cells['image']}: {len(votes)}")
    return {**item, "label": _reference(cells, votes, problems), "votes": votes}


def _reference(cells: Row, votes: Sequence[str], problems: Problems) -> str:
    """The reference label where the table has one, else the majority."""
    columns = [name for name in REFERENCES if name in cells]
    if len(columns) > 1:
        problems.add("two reference labels, in columns label and grade", cells["image"])
    if columns:
        if not cells[columns[0]]:
            problems.add(f"no value in column {columns[0]}", cells["image"])
        return cells[columns[0]]
    counts = Counter(votes).most_common(2)
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        problems.add("no majority and no column with the reference label", f"{cells['image']}: {dict(counts)}")
    return counts[0][0] if counts else ""


def _number_labels(items: Sequence[Item], graded: bool, csv: str | os.PathLike[str]) -> list[str]:
    """Number the labels, add grade and selection rate to the items; returns the labels by number."""
    found = {label for item in items for label in (item["label"], *item["votes"])}
    if all(NUMBER.fullmatch(label) for label in found):
        _make_grades(items, found, csv)
        classes = [str(grade) for grade in GRADES]
    else:
        classes = sorted(found)
    if graded and len(classes) > len(GRADES):
        raise DatalistError(
            f"{csv}: {len(classes)} classes ({', '.join(classes[:8])}...); grades go from 0 to 4, so at most "
            f"{len(GRADES)} fit. Join some, name the readers' columns with readers=, or read it with graded=False for "
            "a generator without classes."
        )
    for item in items:
        item["selection_rate"] = selection_rate(item["votes"], item["label"])
        if graded:
            item["grade"] = classes.index(item["label"])
    return classes


def _make_grades(items: Sequence[Item], found: Collection[str], csv: str | os.PathLike[str]) -> None:
    """Labels that are numbers are grades, never renumbered: 2 must not become 1 because no photograph has 1."""
    # "3.0" is what pandas writes for 3 in a column with gaps
    grades = {label: int(float(label)) for label in found}
    outside = sorted(label for label, grade in grades.items() if grade not in GRADES)
    if outside:
        raise DatalistError(
            f"{csv}: labels that are numbers are grades 0-4, but {', '.join(outside[:8])} came. Correct them, or use "
            "words where they are not grades."
        )
    for item in items:
        item["label"] = str(grades[item["label"]])
        item["votes"] = [str(grades[vote]) for vote in item["votes"]]
