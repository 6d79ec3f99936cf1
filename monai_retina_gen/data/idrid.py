"""IDRiD (Porwal et al., Data 2018, doi:10.3390/data3030025), prepared layout: grades and masks."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

from monai_retina_gen.data.datalist_format import Datalist, make_datalist
from monai_retina_gen.data.problems import Problems
from monai_retina_gen.data.shared_layout import Photograph, by_section, is_shared_layout, read_shared_layout
from monai_retina_gen.data.tables import parse_grade

__all__ = ["block_of", "idrid_datalist"]

LICENCE = "CC BY 4.0: IDRiD, (c) P. Porwal, S. Pachade and M. Kokare; Data 2018, 3(3), 25, doi:10.3390/data3030025"
LAYOUT = "idrid: labels.csv (source IDRiD), splits.csv, 512/ and 256/ with images/ and masks/"
DESCRIPTION = "Indian Diabetic Retinopathy Image Dataset, split by photograph, copies of one photograph together."


BLOCK = 8
"""Official numbers that new splits and folds keep together.

IDRiD names no patients, but its numbers tell: photographs k and k + 1 are among each other's five nearest in colour
five times as often as chance has it (5.8 % of them against 1.2 %), so some probably are two eyes of one patient.
"""


def block_of(group: str) -> dict[str, str]:
    """Key `block` of a photograph, from its group `<official split>/IDRiD_<number>`; nothing for another group.

    Examples:
        >>> block_of("train/IDRiD_008"), block_of("train/IDRiD_009"), block_of("mine")
        ({'block': 'train/001-008'}, {'block': 'train/009-016'}, {})
    """
    found = re.fullmatch(r"(.+)/IDRiD_(\d+)", group)
    if not found:
        return {}
    first = (int(found[2]) - 1) // BLOCK * BLOCK + 1
    return {"block": f"{found[1]}/{first:03}-{first + BLOCK - 1:03}"}


def idrid_datalist(
    root: str | os.PathLike[str], *, size: int = 512, canonical_only: bool = True, soft_masks: bool = False
) -> Datalist:
    """Read IDRiD in the prepared layout with its own leak-free split by photograph.

    Items have `image`, `group`, `block` (eight neighbouring numbers, which new splits and folds keep together), `fov`,
    `grade` and `dme` (macular oedema risk 0-2) where the copies of a photograph agree on it, and `ma`, `he`, `ex`,
    `se`, `od` where there is such a mask. A photograph with lesion masks but without the key of one lesion normally
    does not show that lesion.

    Args:
        root: folder with `labels.csv`, `splits.csv` and the size folders.
        size: side of the images in pixels; the folder of that name is read (512 or 256).
        canonical_only: one file per photograph (531 of 597), the one with masks where there is one.
        soft_masks: masks with the covered share of each pixel (0 to 255), better for small lesions at 256.

    Returns:
        Datalist with absolute paths; 339, 62 and 130 canonical photographs.

    Raises:
        DatalistError: a missing or repeated file or row, or a grade outside 0-4.
    """
    photographs = read_shared_layout(root, size=size, soft_masks=soft_masks, label_columns=("dme", "orig_id", "subset"))
    _add_labels(photographs)
    chosen = [p for p in photographs if p.splits.get("canonical") == "1" or not canonical_only]
    return make_datalist(
        by_section(chosen), name="idrid", description=DESCRIPTION, licence=LICENCE, patients_known=False
    )


def is_idrid(root: Path) -> bool:
    """Whether `root` is IDRiD in the prepared layout."""
    return is_shared_layout(root, "IDRiD")


def _add_labels(photographs: list[Photograph]) -> None:
    problems = Problems("IDRiD")
    oedema: dict[str, set[str]] = defaultdict(set)
    for photograph in photographs:
        oedema[photograph.item["group"]] |= {photograph.labels["dme"]} - {""}
    for photograph in photographs:
        item, grade = photograph.item, photograph.splits.get("grade", "")
        item |= block_of(item["group"])
        if grade:
            item["grade"] = parse_grade(grade, item["image"], problems)
        if len(oedema[item["group"]]) == 1:
            item["dme"] = int(next(iter(oedema[item["group"]])))
    problems.raise_any("Correct splits.csv.")
