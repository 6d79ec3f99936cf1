"""Reads tables of readers' votes: one row per photograph or one row per vote, into one form."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from monai_retina_gen.data.problems import Problems
from monai_retina_gen.data.tables import read_table
from monai_retina_gen.errors import DatalistError

REFERENCES = ("label", "grade")
OTHER_COLUMNS = ("image", "group", "split", *REFERENCES)


@dataclass
class VotedPhotograph:
    """One photograph of a table: its votes by reader, and the cells that are not votes by column."""

    image: str
    cells: Mapping[str, str]
    votes: dict[str, str] = field(default_factory=dict)


def read_votes(csv: str | os.PathLike[str], readers: Sequence[str] | None = None) -> list[VotedPhotograph]:
    """Read a table in either form; see `votes_datalist`.

    Raises:
        DatalistError: an unreadable table, missing columns, a photograph in two rows of the first form, or in the
            second form rows of one photograph that contradict each other.
    """
    rows = read_table(csv, ["image", *(readers or ())])
    if rows and "reader" in rows[0] and readers is None:
        return _read_by_vote(rows, csv)
    return _read_by_photograph(rows, readers, csv)


def _read_by_photograph(
    rows: Sequence[Mapping[str, str]], readers: Sequence[str] | None, csv: str | os.PathLike[str]
) -> list[VotedPhotograph]:
    """One row per photograph: `image,<reader>,<reader>,...`."""
    names = list(readers or [name for name in (rows[0] if rows else ()) if name not in OTHER_COLUMNS])
    if rows and not names:
        raise DatalistError(f"{csv}: no column of a reader; its columns are {list(rows[0])}.")
    problems = Problems(str(csv))
    for image, count in Counter(row["image"] for row in rows).items():
        if count > 1:
            problems.add("photograph in two rows", image)
    problems.raise_any("Keep one row per photograph, or one per vote with the columns image, reader and label.")
    cells = [{name: row[name] for name in OTHER_COLUMNS if name in row} for row in rows]
    votes = [{name: row[name] for name in names if row[name]} for row in rows]
    return [VotedPhotograph(row["image"], c, v) for row, c, v in zip(rows, cells, votes, strict=True)]


def _read_by_vote(rows: Sequence[Mapping[str, str]], csv: str | os.PathLike[str]) -> list[VotedPhotograph]:
    """One row per vote: `image,reader,label`; the other cells of a photograph must agree in all its rows."""
    column = "vote" if "vote" in rows[0] else "label"
    if column not in rows[0]:
        raise DatalistError(f"{csv}: one row per vote needs a column label or vote; its columns are {list(rows[0])}.")
    problems = Problems(str(csv))
    found: dict[str, VotedPhotograph] = {}
    for row in rows:
        cells = {name: row[name] for name in OTHER_COLUMNS if name in row and name != column}
        photograph = found.setdefault(row["image"], VotedPhotograph(row["image"], cells))
        if photograph.cells != cells:
            problems.add("rows of one photograph that differ in label, grade, group or split", row["image"])
        if row["reader"] in photograph.votes:
            problems.add("two votes of one reader", f"{row['image']}: {row['reader']}")
        if row[column]:
            photograph.votes[row["reader"]] = row[column]
    problems.raise_any("Correct the table.")
    return list(found.values())
