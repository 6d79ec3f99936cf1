"""Scoring of a reader study: readers' answers against the key."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["read_answers", "read_key", "score_answers"]

CLASSES = ("real", "generated")
LEVEL = 0.95
Answers = dict[str, tuple[str, int]]
# columns of a row: said generated, is generated, realism
Statistic = Callable[[np.ndarray], float]


def read_key(path: str | os.PathLike[str]) -> dict[str, str]:
    """Class of every image by its number.

    Raises:
        ValueError: for missing columns, a number that stands twice, or another class than `real` and `generated`.
    """
    rows = _rows(path, ("id", "class"))
    _refuse_repeats(path, [row["id"] for row in rows])
    unknown = sorted({row["class"] for row in rows} - set(CLASSES))
    if unknown:
        raise ValueError(f"{path}: class {unknown[:3]} came, real or generated is wanted")
    return {row["id"]: row["class"] for row in rows}


def read_answers(path: str | os.PathLike[str], key: Mapping[str, str]) -> Answers:
    """One reader's answer and realism by image number.

    Raises:
        ValueError: for missing columns, images that are missing, stand twice or are not in the key, and other values
            than real or generated and 1 to 5; each names the images.
    """
    rows = _rows(path, ("id", "answer", "realism"))
    _refuse_repeats(path, [row["id"] for row in rows])
    found = {row["id"] for row in rows}
    if unknown := sorted(found - set(key)):
        raise ValueError(f"{path}: images {unknown[:5]} are not in the key; is it the key of this study?")
    if missing := sorted(set(key) - found, key=lambda name: (len(name), name)):
        raise ValueError(f"{path}: {len(missing)} images have no answer, such as {missing[:5]}; let the reader finish")
    for row in rows:
        if row["answer"] not in CLASSES or row["realism"] not in list("12345"):
            raise ValueError(
                f"{path}: image {row['id']} has answer {row['answer']!r} and realism {row['realism']!r}; real or "
                "generated, and 1 to 5, are wanted"
            )
    return {row["id"]: (row["answer"], int(row["realism"])) for row in rows}


def score_answers(
    readers: Sequence[Answers], key: Mapping[str, str], *, resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Accuracy, precision, recall and F1 of telling generated images, and mean realism, with bootstrap intervals.

    Generated is the positive class. Images are resampled, with the answers of all readers to each; an accuracy near 0.5
    means that readers could not tell, if half of the images are generated.

    Args:
        readers: answers of each reader, from `read_answers`.
        key: class by image, from `read_key`.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `figures` by name, each with `value`, `low`, `high` and `undefined` (share of resamples without a value), and n.

    Examples:
        >>> key = {"1": "real", "2": "generated"}
        >>> score = score_answers([{"1": ("real", 5), "2": ("real", 3)}], key, resamples=10)
        >>> score["figures"]["accuracy"]["value"], score["figures"]["realism_generated"]["value"]
        (0.5, 3.0)
    """
    table = np.array(
        [[[a[i][0] == "generated", key[i] == "generated", a[i][1]] for a in readers] for i in key], dtype=float
    )  # image, reader, column
    draws = np.random.default_rng(seed).integers(len(table), size=(resamples, len(table)))
    figures = {}
    for name, statistic in STATISTICS.items():
        values = np.array([statistic(table[draw].reshape(-1, 3)) for draw in draws])
        figures[name] = _interval(statistic(table.reshape(-1, 3)), values)
    counts = Counter(key.values())
    return {
        "kind": "reader_study",
        "figures": figures,
        "n_readers": len(readers),
        "n_images": len(key),
        "n_generated": counts["generated"],
        "chance_accuracy": max(counts.values()) / len(key),
        "level": LEVEL,
        "resamples": resamples,
    }


def _interval(value: float, values: np.ndarray) -> dict[str, float | None]:
    defined = values[~np.isnan(values)]
    ends = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist() if len(defined) else [None, None]
    return {
        "value": None if np.isnan(value) else float(value),
        "low": ends[0],
        "high": ends[1],
        "undefined": 1 - len(defined) / len(values),
    }


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below else float("nan")


def _mean_realism(rows: np.ndarray, generated: bool) -> float:
    chosen = rows[rows[:, 1] == generated, 2]
    return _ratio(chosen.sum(), len(chosen))


STATISTICS: dict[str, Statistic] = {
    "accuracy": lambda r: _ratio((r[:, 0] == r[:, 1]).sum(), len(r)),
    "precision": lambda r: _ratio((r[:, 0] * r[:, 1]).sum(), r[:, 0].sum()),
    "recall": lambda r: _ratio((r[:, 0] * r[:, 1]).sum(), r[:, 1].sum()),
    "f1": lambda r: _ratio(2 * (r[:, 0] * r[:, 1]).sum(), r[:, 0].sum() + r[:, 1].sum()),
    "realism_real": lambda r: _mean_realism(r, False),
    "realism_generated": lambda r: _mean_realism(r, True),
}


def _rows(path: str | os.PathLike[str], columns: Sequence[str]) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
            raise ValueError(f"{path}: has no column {missing[0]}; a table with {', '.join(columns)} is wanted")
        rows = [{column: (row[column] or "").strip() for column in columns} for row in reader]
    if not rows:
        raise ValueError(f"{path}: has no rows")
    return rows


def _refuse_repeats(path: str | os.PathLike[str], names: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{path}: images {repeated[:5]} stand more than once; keep one row each")
