"""DR-image-dataset (Rahim 2025): 600 photographs, retinopathy and maculopathy in ten classes."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from monai_retina_gen.data.datalist_format import Datalist, Item, existing_folder, make_datalist
from monai_retina_gen.data.photographs import require_items
from monai_retina_gen.data.problems import Problems
from monai_retina_gen.data.splitting import FRACTIONS, split_by_group
from monai_retina_gen.data.tables import image_files, note_repeated

__all__ = ["dr_images_datalist"]

CLASSES = "DR and maculopathy 10 classes"
LAYOUT = f"dr_images: '{CLASSES}' with folders '1 - No DR' to '10 - ...' of Patient<number>_<L or R>.jpg"
LICENCE = "Free for academic purposes with attribution (S. S. Rahim, Retinal Fundus Image Dataset, 2025)"
GRADE_OF_CLASS = {1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 3, 7: 3, 8: 4, 9: 4, 10: 4}
"""International grade by class: none; mild, moderate, severe, proliferative, each without and with maculopathy; and
advanced diabetic eye disease, which is proliferative."""
WITH_MACULOPATHY = (3, 5, 7, 9)
EYES = {"L": "left", "R": "right"}


def dr_images_datalist(
    root: str | os.PathLike[str], *, fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> Datalist:
    """Read the photographs of DR-image-dataset, split by patient.

    Items have `image`, `grade`, `group` (the patient's number), `eye`, `class` (1 to 10) and `maculopathy`, which class
    10 does not say.

    Args:
        root: the repository's folder.
        fractions: shares of training, validation and test.
        seed: seed of the split.

    Returns:
        Datalist with absolute paths.

    Raises:
        DatalistError: a folder whose name does not begin with a number from 1 to 10, a photograph that is not called
            like `Patient001_L.jpg`, or one that is in two classes.
    """
    return make_datalist(
        split_by_group(_items(existing_folder(root, "DR-image-dataset") / CLASSES), fractions, seed=seed),
        name="dr_images",
        description=f"DR-image-dataset, ten classes as grades 0-4, split by patient with seed {seed}.",
        licence=LICENCE,
        patients_known=True,
    )


def is_dr_images(root: Path) -> bool:
    """Whether `root` has the layout of DR-image-dataset."""
    return (root / CLASSES).is_dir()


def _items(folder: Path) -> list[Item]:
    problems, items = Problems(str(folder)), []
    for part in sorted(path for path in existing_folder(folder, CLASSES).iterdir() if path.is_dir()):
        number = re.match(r"\d+", part.name)
        if number is None or int(number[0]) not in GRADE_OF_CLASS:
            problems.add("folder does not begin with a number from 1 to 10", part.name)
            continue
        items += [_item(name, path, int(number[0]), problems) for name, path in image_files(part).items()]
    note_repeated((Path(item["image"]).stem for item in items), "photograph in two classes", problems)
    problems.raise_any("Fetch the data set again.")
    require_items(items, folder, "folders such as '1 - No DR' with photographs")
    return items


def _item(name: str, path: str, number: int, problems: Problems) -> Item:
    match = re.fullmatch(r"Patient(\d+)_([LR])", Path(name).stem)
    if match is None:
        problems.add("name is not Patient<number>_<L or R>", name)
    patient, eye = match.groups() if match else ("", "")
    known = {} if number == max(GRADE_OF_CLASS) else {"maculopathy": number in WITH_MACULOPATHY}
    return {
        "image": path,
        "group": patient,
        "eye": EYES.get(eye, ""),
        "grade": GRADE_OF_CLASS[number],
        "class": number,
        **known,
    }
