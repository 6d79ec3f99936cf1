"""How many lesions eyes of a grade have at most, and how large: measured on the eyes of a bank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_retina_gen.data.lesion_bank import LesionBank
from monai_retina_gen.data.lesion_rules import GRADE_LESIONS, LESION_MASKS

__all__ = ["LesionLimits", "lesion_limits"]

Array = npt.NDArray[Any]
EYES = 0.95  # of eyes that have a lesion, this share stays within the limit of its number and of its area
PIECES = 0.99  # of pieces, this share stays within the limit of a piece's area
FEWEST = 5  # annotated eyes of a grade from which on they alone say the limits


@dataclass(frozen=True, eq=False)
class LesionLimits:
    """Limits by grade 0-4 (rows) and lesion (columns, as `LESION_MASKS`).

    Attributes:
        count: (5, lesions) pieces that are composed for an eye.
        area: (5, lesions) their pixels at the bank's diameter.
        piece: (5, lesions) pixels of one piece.
        total_count: (5, lesions) pieces with those that the eye has: segmenters break lesions into fragments, so that
            eyes with predicted masks say this limit too.
        total_area: (5, lesions) pixels of all of them.
        eyes: (5, lesions) eyes that said `count`, `area` and `piece`.
        annotated: (5, lesions) whether they are the annotated ones.
    """

    count: Array
    area: Array
    piece: Array
    total_count: Array
    total_area: Array
    eyes: Array
    annotated: Array


def lesion_limits(bank: LesionBank) -> LesionLimits:
    """Limits that nearly all real eyes of a grade keep: the 95 % quantile of eyes, the 99 % quantile of pieces.

    Annotated eyes of the grade say them, where there are at least five that have the lesion; otherwise all of the
    grade. What the bank has nowhere in a grade has the limit 0.

    Examples:
        >>> import tempfile
        >>> from monai_retina_gen.data import build_lesion_bank, load_datalist, write_phantoms
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     datalist = load_datalist(write_phantoms(folder, count=6, size=64, grades=[2], splits=(1, 0, 0)))
        ...     bank = build_lesion_bank(datalist["training"], diameter=64, min_area=1)
        >>> limits = lesion_limits(bank)
        >>> bool(limits.count[2, 1] > 0), float(limits.count[1].sum())
        (True, 0.0)
    """
    shape = (5, len(LESION_MASKS))
    count, area, piece, total_count, total_area = np.zeros((5, *shape))
    eyes_with, annotated = np.zeros(shape, np.int64), np.zeros(shape, bool)
    limits = LesionLimits(count, area, piece, total_count, total_area, eyes_with, annotated)
    for grade, names in GRADE_LESIONS.items():
        for cell in ((grade, LESION_MASKS.index(name)) for name in names):
            everyone = np.flatnonzero((bank.grade == grade) & (bank.counts[:, cell[1]].sum(1) > 0))
            known = everyone[bank.annotated[everyone]]
            limits.annotated[cell] = len(known) >= FEWEST
            eyes = known if limits.annotated[cell] else everyone
            limits.eyes[cell] = len(eyes)
            if len(eyes):
                limits.count[cell], limits.area[cell], limits.piece[cell] = _measured(bank, eyes, cell[1])
                pieces, pixels, _ = _measured(bank, everyone, cell[1])
                limits.total_count[cell] = max(pieces, limits.count[cell])
                limits.total_area[cell] = max(pixels, limits.area[cell])
    return limits


def _measured(bank: LesionBank, eyes: Array, kind: int) -> tuple[float, float, float]:
    """Number and area in nearly all of the eyes, and the area of nearly all pieces."""
    mine = (bank.kind == kind) & np.isin(bank.eye, eyes)
    areas = np.bincount(bank.eye[mine], bank.area[mine], minlength=len(bank))[eyes]
    return _quantile(bank.counts[eyes, kind].sum(1), EYES), _quantile(areas, EYES), _quantile(bank.area[mine], PIECES)


def _quantile(values: Array, share: float) -> float:
    return float(np.quantile(values, share, method="higher"))  # one that was seen: of few the largest
