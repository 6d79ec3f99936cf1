"""Scoring of a reader study: readers' answers against the key."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_retina_gen.metrics.crossed_effects import crossed_interval

__all__ = ["read_answers", "read_key", "score_answers"]

CLASSES = ("real", "generated")
LEVEL = 0.95
Answers = dict[str, tuple[str, int]]
SHARES, REALISM = ("accuracy", "precision", "recall", "f1"), ("realism_real", "realism_generated")


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


def score_answers(readers: Sequence[Answers], key: Mapping[str, str]) -> dict[str, Any]:
    """Accuracy, precision, recall and F1 of telling generated images, and mean realism, with 95 % intervals.

    Generated is the positive class. A figure is the mean over the readers; its interval is over other readers and other
    images (`crossed_interval`; of one reader over images alone). An accuracy near 0.5 means that readers could not
    tell, if half of the images are generated.

    Args:
        readers: answers of each reader, from `read_answers`.
        key: class by image, from `read_key`.

    Returns:
        `figures` by name, each with `value`, `low` and `high` (None where undefined), and n.

    Examples:
        >>> key = {"1": "real", "2": "generated"}
        >>> score = score_answers([{"1": ("real", 5), "2": ("real", 3)}], key)
        >>> score["figures"]["accuracy"]["value"], score["figures"]["realism_generated"]["value"]
        (0.5, 3.0)
    """
    table = torch.tensor(
        [[[a[i][0] == "generated", key[i] == "generated", a[i][1]] for i in key] for a in readers], dtype=torch.float64
    )  # reader, image, column
    counts = Counter(key.values())
    return {
        "kind": "reader_study",
        "figures": _intervals(table, SHARES, _shares, (0, 1)) | _intervals(table, REALISM, _realism, (1, 5)),
        "n_readers": len(readers),
        "n_images": len(key),
        "n_generated": counts["generated"],
        "chance_accuracy": max(counts.values()) / len(key),
        "level": LEVEL,
    }


def _intervals(
    table: Tensor, names: Sequence[str], statistic: Callable[[Tensor], Tensor], within: tuple[float, float]
) -> dict[str, Any]:
    found = crossed_interval(_counts(table), statistic, level=LEVEL, within=within).as_dict()
    return {name: {part: found[part][i] for part in ("value", "low", "high")} for i, name in enumerate(names)}


def _counts(table: Tensor) -> Tensor:
    """What the figures are ratios of: right, found, said and truly generated, one, realism of each class, real."""
    said, generated, realism = table.unbind(-1)
    real = 1 - generated
    parts = [(said == generated).double(), said * generated, said, generated]
    return torch.stack([*parts, torch.ones_like(said), realism * real, realism * generated, real], -1)


def _shares(counts: Tensor) -> Tensor:
    """`SHARES` of summed counts; NaN where undefined."""
    right, found, said, generated, images, *_ = counts.unbind(-1)
    return torch.stack([right / images, found / said, found / generated, 2 * found / (said + generated)], -1)


def _realism(counts: Tensor) -> Tensor:
    """`REALISM` of summed counts; NaN where undefined."""
    _, _, _, generated, _, of_real, of_generated, real = counts.unbind(-1)
    return torch.stack([of_real / real, of_generated / generated], -1)


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
