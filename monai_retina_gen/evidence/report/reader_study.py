"""A blinded page on which a clinician says real or generated, and the scoring of the answers.

Scored as in Zhao et al. 2023, Table 1 (accuracy, precision, recall, F1 of readers) and in Zhou et al. 2020 (DR-GAN),
Table I (mean realism of real and of generated images).
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import (
    ImageSet,
)
from monai_retina_gen.evidence.report.reader_page import reader_page

__all__ = ["reader_study"]

PAGE, KEY, SCORE = "reader_study.html", "key.csv", "score.json"


def reader_study(real: ImageSet, generated: ImageSet, *, out: str | Path, seed: int = 0) -> Path:
    """Write the blinded page and its key.

    Every image is shown at the same size and encoded in the same way, without names or metadata; the page holds no
    answer.

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
    order = np.random.default_rng(seed).permutation(len(entries))
    shuffled = [entries[i] for i in order]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", "class", "grade", "name"])
    for number, (images, i) in enumerate(shuffled, 1):
        writer.writerow([number, "real" if images is real else "generated", images.grades[i], images.names[i]])
    (folder / KEY).write_text(table.getvalue(), encoding="utf-8")
    (folder / PAGE).write_text(reader_page([images.images[i] for images, i in shuffled]), encoding="utf-8")
    return folder / PAGE
