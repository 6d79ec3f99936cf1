"""A blinded page on which a clinician says real or generated, and the scoring of the answers.

Scored as in Zhao et al. 2023, Table 1 (accuracy, precision, recall, F1 of readers) and in Zhou et al. 2020 (DR-GAN),
Table I (mean realism of real and of generated images).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_retina_gen.data.raster_io import encode_png
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.metrics.crossed_effects import crossed_interval

PAGE, KEY, SCORE = "reader_study.html", "key.csv", "score.json"
CLASSES = ("real", "generated")
LEVEL = 0.95
Answers = dict[str, tuple[str, int]]
SHARES, REALISM = ("accuracy", "precision", "recall", "f1"), ("realism_real", "realism_generated")


def reader_study(real: ImageSet, generated: ImageSet, *, out: str | Path, seed: int = 0) -> Path:
    """Write the blinded page and its key; every image has the same size and encoding, without names or metadata.

    Args:
        real: photographs.
        generated: generated images of the same size.
        out: folder for `reader_study.html`, for the reader, and `key.csv`, which the reader must not have.
        seed: of the order.

    Returns:
        Path of the page.

    Raises:
        DatalistError: for sets without images or of different sizes.
    """
    if not len(real) or not len(generated) or real.size != generated.size:
        raise DatalistError(
            f"{len(real)} photographs of {real.size} and {len(generated)} generated images of {generated.size} pixels "
            "came; some of each, of one size, are wanted: size would give the class away"
        )
    entries = [(s, i) for s in (real, generated) for i in range(len(s))]
    shuffled = [entries[i] for i in np.random.default_rng(seed).permutation(len(entries))]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [["real" if s is real else "generated", s.grades[i], s.names[i]] for s, i in shuffled]
    with open(folder / KEY, "w", newline="", encoding="utf-8") as file:
        numbered = ([number, *row] for number, row in enumerate(rows, 1))
        csv.writer(file, lineterminator="\n").writerows([["id", "class", "grade", "name"], *numbered])
    (folder / PAGE).write_text(_reader_page([images.images[i] for images, i in shuffled]), encoding="utf-8")
    return folder / PAGE


def _reader_page(images: Sequence[Tensor]) -> str:
    """One HTML file with its images, for keyboard and touch, without a network; image i is called i, from 1."""
    pngs = [encode_png(image.permute(1, 2, 0).contiguous().numpy(), text={}, xmp=None) for image in images]
    uris = ["data:image/png;base64," + base64.b64encode(png).decode() for png in pngs]
    # answers kept by the browser belong to this very set of images
    study = hashlib.sha256("".join(uris).encode()).hexdigest()[:16]
    page = Path(__file__).with_name("reader_page.html").read_text(encoding="utf-8")
    return page.replace("__STUDY__", json.dumps(study)).replace("__IMAGES__", json.dumps(uris))


def read_key(path: str | os.PathLike[str]) -> dict[str, str]:
    """Class of every image by its number; a `ValueError` names what is wrong with the table."""
    rows = _rows(path, ("id", "class"))
    if unknown := sorted({row["class"] for row in rows} - set(CLASSES)):
        raise ValueError(f"{path}: class {unknown[:3]} came, real or generated is wanted")
    return {row["id"]: row["class"] for row in rows}


def read_answers(path: str | os.PathLike[str], key: Mapping[str, str]) -> Answers:
    """One reader's answer and realism by image number; a `ValueError` names the images that are wrong or missing."""
    rows = _rows(path, ("id", "answer", "realism"))
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

    Generated is the positive class. A figure is the mean over the readers, from `read_answers`; its interval is over
    other readers and images (`crossed_interval`). With half of the images generated, an accuracy near 0.5 is chance.

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
    if repeated := [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]:
        raise ValueError(f"{path}: images {repeated[:5]} stand more than once; keep one row each")
    return rows
