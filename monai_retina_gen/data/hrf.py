"""HRF (Budai et al. 2013, doi:10.1155/2013/154860) in its prepared layout: vessel masks of 45 photographs."""

from __future__ import annotations

import os
from pathlib import Path

from monai_retina_gen.data.datalist_format import Datalist, make_datalist
from monai_retina_gen.data.shared_layout import by_section, is_shared_layout, read_shared_layout

__all__ = ["hrf_datalist"]

LICENCE = "CC BY 4.0: High-Resolution Fundus (HRF) Image Database, Budai et al. 2013, doi:10.1155/2013/154860"
LAYOUT = "hrf: labels.csv (source HRF), splits.csv, 512/ and 256/ with images/ and masks/"


def hrf_datalist(root: str | os.PathLike[str], *, size: int = 512, soft_masks: bool = False) -> Datalist:
    """Read HRF in the prepared layout with its own split.

    Items have `image`, `group`, `vessel`, `fov` and `diagnosis` (`healthy`, `diabetic_retinopathy` or
    `glaucoma`); there are no grades.

    Args:
        root: folder with `labels.csv`, `splits.csv` and the size folders.
        size: side of the images in pixels; the folder of that name is read (512 or 256).
        soft_masks: masks with the covered share of each pixel (0 to 255).

    Returns:
        Datalist with absolute paths.

    Raises:
        DatalistError: a missing or repeated file or row.
    """
    photographs = read_shared_layout(root, size=size, soft_masks=soft_masks, label_columns=("diagnosis",))
    for photograph in photographs:
        photograph.item["diagnosis"] = photograph.labels["diagnosis"]
    description = "High-Resolution Fundus images with vessel masks, split by photograph."
    return make_datalist(
        by_section(photographs), name="hrf", description=description, licence=LICENCE, patients_known=False
    )


def is_hrf(root: Path) -> bool:
    """Whether `root` is HRF in the prepared layout."""
    return is_shared_layout(root, "HRF")
