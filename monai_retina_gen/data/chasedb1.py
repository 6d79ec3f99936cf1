"""CHASE_DB1 (Fraz et al. 2012, doi:10.1109/TBME.2012.2205687): vessels by two observers, prepared layout."""

from __future__ import annotations

import os
from pathlib import Path

from monai_retina_gen.data.datalist_format import Datalist, make_datalist
from monai_retina_gen.data.problems import Problems
from monai_retina_gen.data.shared_layout import by_section, is_shared_layout, read_shared_layout

__all__ = ["chasedb1_datalist"]

LICENCE = "CC BY 4.0: CHASE_DB1, Kingston University London; Fraz et al. 2012, doi:10.1109/TBME.2012.2205687"
LAYOUT = "chasedb1: labels.csv (source CHASE_DB1), splits.csv, 512/ and 256/ with images/ and masks/"
EYES = {"L": "left", "R": "right"}


def chasedb1_datalist(root: str | os.PathLike[str], *, size: int = 512, soft_masks: bool = False) -> Datalist:
    """Read CHASE_DB1 in the prepared layout with its own split by child.

    Items have `image`, `group` (the child), `eye` (`left` or `right`), `vessel` (first observer), `vessel2`
    (second observer) and `fov`; there are no grades. The photographs show 30 degrees of children's eyes.

    Args:
        root: folder with `labels.csv`, `splits.csv` and the size folders.
        size: side of the images in pixels; the folder of that name is read (512 or 256).
        soft_masks: masks with the covered share of each pixel (0 to 255).

    Returns:
        Datalist with absolute paths.

    Raises:
        DatalistError: a missing or repeated file or row, or an `orig_id` that does not end with L or R.
    """
    photographs = read_shared_layout(root, size=size, soft_masks=soft_masks, label_columns=("orig_id",))
    problems = Problems("CHASE_DB1")
    for photograph in photographs:
        if photograph.labels["orig_id"][-1:] in EYES:
            photograph.item["eye"] = EYES[photograph.labels["orig_id"][-1]]
        else:
            problems.add("orig_id that does not end with L or R", photograph.labels["orig_id"])
    problems.raise_any("Correct labels.csv.")
    description = "Children's eyes with vessel masks of two observers, split by child."
    return make_datalist(
        by_section(photographs),
        name="chasedb1",
        description=description,
        licence=LICENCE,
        patients_known=True,
    )


def is_chasedb1(root: Path) -> bool:
    """Whether `root` is CHASE_DB1 in the prepared layout."""
    return is_shared_layout(root, "CHASE_DB1")
