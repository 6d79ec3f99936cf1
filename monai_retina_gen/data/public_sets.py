"""The public sets of graded photographs, as they are distributed.

APTOS 2019 (Kaggle; 3662 training photographs, patients unknown), EyePACS (Kaggle 2015; 35,126, both eyes of a patient),
ODIR-5K (Peking University 2019; eyes of 5000 patients, graded from the keywords of each eye), Messidor-2 with the
adjudicated grades of Krause et al. 2018 (1748 photographs, 1744 of them gradable) and DR-image-dataset (Rahim 2025; 600
photographs, retinopathy and maculopathy in ten classes). The competitions' own test photographs have no labels.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from monai_retina_gen.data.datalist_format import (
    IMAGE_SUFFIXES,
    Datalist,
    Item,
    Problems,
    existing_folder,
    image_files,
    make_datalist,
    note_repeated,
    read_header,
    read_table,
    warn_without_row,
)
from monai_retina_gen.data.grades import parse_grade
from monai_retina_gen.data.splitting import group_identical_files, require_items, split_by_group
from monai_retina_gen.errors import DatalistError

EYES = {"L": "left", "R": "right"}


@dataclass(frozen=True)
class Found:
    """What a folder holds: items, whether their groups are patients, files without a row, what the description adds."""

    items: list[Item]
    patients: bool = True
    unlisted: Collection[str] = ()
    note: str = ""


@dataclass(frozen=True)
class PublicSet:
    """A set: name, title, layout and licence in words, the test for its layout, and what finds its photographs."""

    name: str
    title: str
    layout: str
    licence: str
    matches: Callable[[Path], bool]
    find: Callable[[Path, Problems], Found]
    options: tuple[str, ...] = ()

    def read(self, root: str | os.PathLike[str]) -> Datalist:
        """Read the set, split by patient or, where patients are unknown, by photograph.

        Items have `image`, `grade`, `group` and what the set says besides: `eye`, `dme`, `diagnosis` (keywords),
        `class`. `DatalistError` for rows without a file, photographs twice, names that say no patient, grades outside
        0-4; a warning for files without a row, which are left out, and for identical photographs with different grades.
        """
        folder = existing_folder(root, self.title)
        problems = Problems(str(folder))
        found = self.find(folder, problems)
        problems.raise_any("Fetch the data set again, or correct its table.")
        require_items(found.items, folder, self.layout)
        warn_without_row(found.unlisted, f"the table of {folder}")
        if not found.patients:
            group_identical_files(found.items)
        how = "by patient, " if found.patients else ""
        return make_datalist(
            split_by_group(found.items),
            name=self.name,
            description=f"{self.title}, split {how}with seed 0{found.note}.",
            licence=self.licence,
            patients_known=found.patients,
        )


def _graded(
    rows: Sequence[Mapping[str, str]],
    columns: tuple[str, str],
    files: Mapping[str, str],
    problems: Problems,
    name_of: Callable[[str], str] = str,
) -> list[Item]:
    """Items of rows with a file's name and a grade in two columns, each its own group; `files` are by `name_of`."""
    items: list[Item] = []
    for name, grade in ((row[columns[0]], row[columns[1]]) for row in rows):
        key = name_of(name)
        if key not in files:
            problems.add("missing file", name)
        items.append({"image": files.get(key), "group": key, "grade": parse_grade(grade, name, problems)})
    return items


def _by_name(
    folder: Path, problems: Problems, name_of: Callable[[str], str] = lambda name: Path(name).stem
) -> dict[str, str]:
    files = image_files(folder)
    note_repeated(map(name_of, files), "two files of one id", problems)
    return {name_of(name): path for name, path in files.items()}


def _listed(table: Path, columns: tuple[str, str], images: Path, problems: Problems) -> Found:
    """Photographs of a table with two columns: a file's name without its suffix, and its grade."""
    rows, files = read_table(table, columns), _by_name(images, problems)
    names = [row[columns[0]] for row in rows]
    note_repeated(names, f"{columns[0].removesuffix('_code')} in two rows", problems)
    return Found(_graded(rows, columns, files, problems), patients=False, unlisted=set(files) - set(names))


def _aptos(folder: Path, problems: Problems) -> Found:
    return _listed(folder / "train.csv", ("id_code", "diagnosis"), folder / "train_images", problems)


def _eyepacs(folder: Path, problems: Problems) -> Found:
    found = _listed(folder / "trainLabels.csv", ("image", "level"), folder / "train", problems)
    for item in found.items:
        match = re.fullmatch(r"(\d+)_(left|right)", item["group"])
        if match is None:
            problems.add("name is not <patient>_left or <patient>_right", item["group"])
        else:
            item["group"], item["eye"] = match.groups()
    return replace(found, patients=True)


MESSIDOR_FOLDERS = ("IMAGES", "images")


def _messidor(folder: Path, problems: Problems) -> Found:
    """Gradable photographs; names are compared without their case and suffix, which differ between copies."""
    columns = ("image_id", "adjudicated_dr_grade")
    rows = read_table(folder / "messidor_data.csv", columns)
    listed = [_plain(row["image_id"]) for row in rows]
    files = _by_name(next((folder / f for f in MESSIDOR_FOLDERS if (folder / f).is_dir()), folder), problems, _plain)
    note_repeated(listed, "photograph in two rows", problems)
    gradable = [row for row in rows if row.get("adjudicated_gradable", "1") != "0" and row["adjudicated_dr_grade"]]
    pairs, items = _pairs(folder / "pairs.csv", problems), _graded(gradable, columns, files, problems, _plain)
    for item, row in zip(items, gradable, strict=True):
        item["group"] = pairs.get(item["group"], item["group"])
        if row.get("adjudicated_dme") in ("0", "1"):
            item["dme"] = int(row["adjudicated_dme"])
    note = f"; left out as not gradable: {len(rows) - len(gradable)}"
    return Found(items, patients=bool(pairs), unlisted=set(files) - set(listed), note=note)


def _pairs(table: Path, problems: Problems) -> dict[str, str]:
    """Pair by photograph; none without the table."""
    rows = read_table(table, ("left", "right")) if table.is_file() else []
    both = [(_plain(row[side]), f"pair {number}") for number, row in enumerate(rows, 1) for side in ("left", "right")]
    note_repeated((name for name, _ in both if name), "photograph in two pairs", problems)
    return {name: pair for name, pair in both if name}


def _plain(name: str) -> str:
    path = Path(name.lower())
    return path.stem if path.suffix in IMAGE_SUFFIXES else path.name


SIDES = ("Left", "Right")
ODIR_COLUMNS = ("ID", *(f"{side}-{what}" for side in SIDES for what in ("Fundus", "Diagnostic Keywords")))
ODIR_FOLDERS = ("Training Images", "ODIR-5K/Training Images", "ODIR-5K_Training_Dataset", "preprocessed_images")
GRADE_OF_KEYWORD = {
    "normal fundus": 0,
    "mild nonproliferative retinopathy": 1,
    "moderate non proliferative retinopathy": 2,
    "severe nonproliferative retinopathy": 3,
    "proliferative diabetic retinopathy": 4,
    "severe proliferative diabetic retinopathy": 4,
}
BAD_QUALITY = ("anterior segment image", "image offset", "lens dust", "low image quality", "no fundus image")
UNSEEN = "optic disk photographically invisible"


def grade_from_keywords(keywords: str) -> int | str:
    """Grade of an eye of ODIR-5K, or in words why it has none."""
    # the tables separate keywords by the full-width comma, some copies by the ASCII one
    words = [word.strip().lower() for word in re.split("[,\uff0c]", keywords)]
    if any(word in (*BAD_QUALITY, UNSEEN) for word in words):
        return "bad quality"
    grades = {GRADE_OF_KEYWORD[word] for word in words if word in GRADE_OF_KEYWORD}
    if len(grades) > 1:
        return "several grades"
    return grades.pop() if grades else "no grade"


def _odir(folder: Path, problems: Problems) -> Found:
    """Eyes whose keywords give one grade; the others are counted in the description."""
    images = next((folder / name for name in ODIR_FOLDERS if (folder / name).is_dir()), folder / ODIR_FOLDERS[0])
    files = image_files(images)
    eyes: dict[str, Item] = {}
    for row in read_table(_odir_table(folder), ODIR_COLUMNS):
        for side in SIDES:
            name, words = row[f"{side}-Fundus"], row[f"{side}-Diagnostic Keywords"]
            eye = {"image": files.get(name), "group": row["ID"], "eye": side.lower(), "diagnosis": words}
            if name not in files:
                problems.add("missing file", name or f"no name for the {side.lower()} eye of {row['ID']}")
            # some copies of the table have one row per eye, which repeats both eyes
            if eyes.setdefault(name, eye) != eye:
                problems.add("image twice with different annotations", name)
    graded = [{**eye, "grade": grade_from_keywords(eye["diagnosis"])} for eye in eyes.values()]
    left_out = Counter(eye["grade"] for eye in graded if isinstance(eye["grade"], str))
    counts = "; ".join(f"{reason}: {count}" for reason, count in sorted(left_out.items())) or "none"
    items = [eye for eye in graded if isinstance(eye["grade"], int)]
    return Found(items, unlisted=set(files) - set(eyes), note=f"; by each eye's keywords, left out: {counts}")


def _odir_tables(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.csv")) if set(ODIR_COLUMNS) <= set(read_header(path))]


def _odir_table(folder: Path) -> Path:
    tables = _odir_tables(folder)
    if len(tables) == 1:
        return tables[0]
    sheets = [path.name for path in folder.glob("*.xlsx")]
    if sheets and not tables:
        raise DatalistError(f"{folder}: {sheets} are XLSX sheets, which are not read: save the annotations as CSV.")
    raise DatalistError(f"{folder}: one CSV with the columns {list(ODIR_COLUMNS)} is wanted, found {tables}.")


def _is_odir(root: Path) -> bool:
    has_images = any((root / name).is_dir() for name in ODIR_FOLDERS)
    return has_images and bool(_odir_tables(root) or list(root.glob("*.xlsx")))


CLASSES = "DR and maculopathy 10 classes"
GRADE_OF_CLASS = {1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 3, 7: 3, 8: 4, 9: 4, 10: 4}
"""International grade by class: none; mild, moderate, severe, proliferative, each without and with maculopathy; and
advanced diabetic eye disease, which is proliferative, and of which maculopathy is not said."""


def _dr_images(folder: Path, problems: Problems) -> Found:
    items: list[Item] = []
    for part in sorted(path for path in existing_folder(folder / CLASSES, CLASSES).iterdir() if path.is_dir()):
        number = int((re.match(r"\d+", part.name) or ["0"])[0])
        if number not in GRADE_OF_CLASS:
            problems.add("folder does not begin with a number from 1 to 10", part.name)
            continue
        known = {"grade": GRADE_OF_CLASS[number], "class": number}
        known |= {} if number == max(GRADE_OF_CLASS) else {"maculopathy": number > 1 and number % 2 == 1}
        for name, path in image_files(part).items():
            match = re.fullmatch(r"Patient(\d+)_([LR])", Path(name).stem)
            if match is None:
                problems.add("name is not Patient<number>_<L or R>", name)
            else:
                items.append({"image": path, "group": match[1], "eye": EYES[match[2]], **known})
    note_repeated((Path(item["image"]).stem for item in items), "photograph in two classes", problems)
    return Found(items)


PUBLIC_SETS = (
    PublicSet(
        "aptos2019",
        "APTOS 2019 Blindness Detection",
        "aptos2019: train.csv (id_code, diagnosis) and train_images/<id_code>.png",
        "Rules of the Kaggle competition APTOS 2019 Blindness Detection",
        lambda root: (root / "train.csv").is_file() and (root / "train_images").is_dir(),
        _aptos,
    ),
    PublicSet(
        "eyepacs",
        "EyePACS (Kaggle 2015)",
        "eyepacs: trainLabels.csv (image, level) and train/<patient>_<left or right>.jpeg",
        "Rules of the Kaggle competition Diabetic Retinopathy Detection (2015); photographs by EyePACS",
        lambda root: (root / "trainLabels.csv").is_file() and (root / "train").is_dir(),
        _eyepacs,
    ),
    PublicSet(
        "odir5k",
        "ODIR-5K",
        f"odir5k: a CSV with the columns {', '.join(ODIR_COLUMNS)}, and the images in '{ODIR_FOLDERS[0]}'",
        "Terms of the ODIR-2019 challenge (Peking University); not for redistribution",
        _is_odir,
        _odir,
    ),
    PublicSet(
        "messidor2",
        "Messidor-2, adjudicated grades",
        "messidor2: messidor_data.csv (image_id, adjudicated_dr_grade), IMAGES/, and pairs.csv (left, right; a row for "
        "each patient) where the pairs are known",
        "Terms of the Messidor-2 data set (ADCIS); grades by Krause et al. 2018",
        lambda root: (root / "messidor_data.csv").is_file() and any((root / f).is_dir() for f in MESSIDOR_FOLDERS),
        _messidor,
    ),
    PublicSet(
        "dr_images",
        "DR-image-dataset, ten classes as grades 0-4",
        f"dr_images: '{CLASSES}' with folders '1 - No DR' to '10 - ...' of Patient<number>_<L or R>.jpg",
        "Free for academic purposes with attribution (S. S. Rahim, Retinal Fundus Image Dataset, 2025)",
        lambda root: (root / CLASSES).is_dir(),
        _dr_images,
    ),
)
