"""IDRiD: the prepared layout on real data and in miniature, and the official layout by the shipped list."""

from __future__ import annotations

import csv
import json
import re
import shutil

import pytest

from monai_retina_gen.data import (
    MASK_KEYS,
    SECTIONS,
    check_datalist,
    count_grades,
    idrid_datalist,
    idrid_official_datalist,
    load_datalist,
)
from monai_retina_gen.data.prepared_sets import MASK_FOLDERS, PARTS, SET_FOLDERS, TABLES, shipped_rows
from monai_retina_gen.engines import fold_of_group
from monai_retina_gen.errors import DatalistError

COUNTS = {"training": (114, 15, 107, 57, 39), "test": (34, 5, 39, 23, 15)}


def test_real_counts(mrg_data):
    datalist = load_datalist("idrid", mrg_data / "idrid")
    assert [len(datalist[section]) for section in SECTIONS] == [339, 62, 130]
    graded = load_datalist(mrg_data / "idrid", require_grade=True)
    assert [len(graded[section]) for section in SECTIONS] == [332, 59, 116]
    for section, counts in COUNTS.items():
        assert tuple(count_grades(graded[section]).values()) == counts
    masked = [sum("ex" in item for item in datalist[section]) for section in SECTIONS]
    assert masked == [42, 9, 30]
    assert sum("se" in item for item in datalist["validation"]) == 2


def test_real_files_have_no_leak_by_content(mrg_data):
    everything = idrid_datalist(mrg_data / "idrid", size=256, canonical_only=False)
    assert sum(len(everything[section]) for section in SECTIONS) == 597
    check_datalist(everything, check_content=True)


def test_soft_masks(mrg_data):
    soft = idrid_datalist(mrg_data / "idrid", size=256, soft_masks=True)
    check_datalist(soft)
    item = next(item for item in soft["training"] if "ma" in item)
    assert "/256/soft_masks/ma/" in item["ma"]
    assert "/256/masks/fov/" in item["fov"]


def test_shipped_list_is_that_of_the_prepared_layout(mrg_data):
    """The shipped rows against the tables they come from, joined here in another way."""
    with (
        open(mrg_data / "idrid" / "splits.csv", encoding="utf-8") as splits,
        open(mrg_data / "idrid" / "labels.csv", encoding="utf-8") as labels,
    ):
        expected = {row["image"]: row for row in csv.DictReader(splits)}
        label_of = {row["image"]: row for row in csv.DictReader(labels)}
    short = {"grading": "grading", "segmentation": "seg"}
    rows = shipped_rows()
    assert len(rows) == len(expected) == 597
    for row in rows:
        image = f"images/{short[row['subset']]}_{row['official_split']}_{row['orig_id']}.jpg"
        for column in ("group", "split", "canonical", "grade"):
            assert row[column] == expected[image][column]
        assert row["dme"] in ("", label_of[image]["dme"])
        assert set(row["masks"].split()) == {key for key in MASK_FOLDERS if label_of[image][f"mask_{key}"]}


def test_folds_keep_eight_neighbouring_numbers_together(mrg_data):
    """By the official numbers in the files' names, read here without the package."""
    whole = idrid_datalist(mrg_data / "idrid")
    items = [item for section in SECTIONS for item in whole[section] if "grading_train" in item["image"]]
    numbers = {item["group"]: int(re.search(r"IDRiD_(\d+)\.jpg", item["image"])[1]) for item in items}
    folds = fold_of_group(items)
    for first in range(1, 414, 8):
        assert len({folds[group] for group, number in numbers.items() if first <= number < first + 8}) <= 1
    assert len({(n - 1) // 8 for n in numbers.values()}) > 40


@pytest.fixture(scope="session")
def official_tree(tmp_path_factory):
    """Empty files with the names of the official distribution, and its two label tables."""
    root = tmp_path_factory.mktemp("official")
    tables = {split: ["Image name,Retinopathy grade,Risk of macular edema ,,,"] for split in TABLES}
    for row in shipped_rows():
        part, folder = root / PARTS[row["subset"]], SET_FOLDERS[row["official_split"]]
        files = [part / "1. Original Images" / folder / f"{row['orig_id']}.jpg"]
        for key in row["masks"].split():
            masks = part / "2. All Segmentation Groundtruths" / folder / MASK_FOLDERS[key]
            files.append(masks / f"{row['orig_id']}_{key.upper()}.tif")
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        if row["subset"] == "grading":
            # where copies disagree the shipped list is empty, and any official label is accepted
            labels = f"{row['orig_id']},{row['grade'] or 4},{row['dme'] or 1},,,"
            tables[row["official_split"]].append(labels)
    truth = root / PARTS["grading"] / "2. Groundtruths"
    truth.mkdir()
    for split, lines in tables.items():
        (truth / TABLES[split]).write_text("\n".join(lines), encoding="utf-8-sig")
    return root


def test_official_layout_has_the_photographs_of_the_prepared_one(official_tree, mrg_data):
    official = load_datalist("idrid_official", official_tree)
    assert official == load_datalist(official_tree)
    prepared = idrid_datalist(mrg_data / "idrid")
    for section in SECTIONS:
        expected = {item["group"]: item for item in prepared[section]}
        assert {item["group"] for item in official[section]} == expected.keys()
        for item in official[section]:
            twin = expected[item["group"]]
            assert (item.get("grade"), item.get("dme")) == (twin.get("grade"), twin.get("dme"))
            assert item.keys() == twin.keys() - {"fov"}


def test_official_layout_without_segmentation(official_tree, tmp_path):
    (tmp_path / PARTS["grading"]).symlink_to(official_tree / PARTS["grading"])
    alone = idrid_official_datalist(tmp_path)
    # 516 files of 510 photographs: 6 appear twice
    assert sum(len(alone[section]) for section in SECTIONS) == 510
    everything = idrid_official_datalist(tmp_path, canonical_only=False)
    assert sum(len(everything[section]) for section in SECTIONS) == 516
    check_datalist(everything)


def test_official_layout_names_what_is_missing_or_different(official_tree, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(official_tree, root)
    extra = root / PARTS["grading"] / "1. Original Images" / SET_FOLDERS["train"] / "IDRiD_999.jpg"
    extra.touch()
    with pytest.warns(UserWarning, match=r"IDRiD_999.jpg"):
        idrid_official_datalist(root)
    table = root / PARTS["grading"] / "2. Groundtruths" / TABLES["train"]
    text = table.read_text(encoding="utf-8-sig")
    table.write_text(text.replace("IDRiD_001,3,", "IDRiD_001,0,").replace("IDRiD_002,", "IDRiD_0002,"))
    with pytest.raises(DatalistError, match=r"IDRiD_001: '0'.*without a row.*IDRiD_002"):
        idrid_official_datalist(root)
    (root / PARTS["segmentation"] / "1. Original Images" / SET_FOLDERS["test"] / "IDRiD_60.jpg").unlink()
    with pytest.raises(DatalistError, match=r"missing file: 1 .*IDRiD_60.jpg"):
        idrid_official_datalist(root)
    with pytest.raises(DatalistError, match=r"neither 'A. Segmentation' nor"):
        idrid_official_datalist(tmp_path)


LABELS = ("image", "grade", *(f"mask_{key}" for key in MASK_KEYS), "source", "dme", "orig_id", "subset")
SPLITS = ("image", "group", "split", "grade", "canonical")


@pytest.fixture
def miniature(tmp_path, write_photograph, write_table):
    """Three files of two photographs in the prepared layout; returns the rows of both tables and their writer."""
    names = [f"images/{i}.jpg" for i in range(3)]
    for name in names:
        write_photograph(tmp_path / "512" / name)
    write_photograph(tmp_path / "512" / "masks" / "ex" / "0.png")
    masks = {key: "masks/ex/0.png" if key == "ex" else "" for key in MASK_KEYS}
    labels = [
        [name, "1", *(masks.values() if i == 0 else [""] * len(MASK_KEYS)), "IDRiD", i, i, "grading"]
        for i, name in enumerate(names)
    ]
    splits = [[names[0], "a", "train", 1, 1], [names[1], "a", "train", 1, 0], [names[2], "b", "val", "", 1]]

    def write():
        write_table(tmp_path / "labels.csv", LABELS, labels)
        write_table(tmp_path / "splits.csv", SPLITS, splits)
        return tmp_path

    return labels, splits, write


def test_miniature(miniature):
    _, _, write = miniature
    root = write()
    expected = {"image": f"{root}/512/images/0.jpg", "group": "a", "ex": f"{root}/512/masks/ex/0.png", "grade": 1}
    datalist = load_datalist(root)
    assert datalist["training"] == [expected]  # no dme: the two copies disagree on it
    assert datalist["validation"] == [{"image": f"{root}/512/images/2.jpg", "group": "b", "dme": 2}]
    assert json.loads(json.dumps(datalist)) == datalist
    assert len(load_datalist(root, canonical_only=False)["training"]) == 2


@pytest.mark.parametrize(
    ("table", "row", "column", "value", "message"),
    [
        ("splits", 0, 2, "training", "split is not train, val or test.*'training'"),
        ("splits", 0, 3, "7", r"grade is not one of.*images/0.jpg: '7'"),
        pytest.param("splits", 0, 3, "9" * 5000, "grade is not one of", id="more digits than Python reads"),
        ("splits", 2, 0, "images/1.jpg", r"image twice in splits.csv: 1 .images/1.jpg.*only one of.*images/2.jpg"),
        ("labels", 2, 0, "images/1.jpg", "image twice in labels.csv"),
        ("labels", 1, 4, "masks/ex/9.png", "missing file: 1 .*masks/ex/9.png"),
    ],
)
def test_miniature_errors(miniature, table, row, column, value, message):
    labels, splits, write = miniature
    {"labels": labels, "splits": splits}[table][row][column] = value
    with pytest.raises(DatalistError, match=message):
        idrid_datalist(write())


def test_miniature_sizes_files_and_columns(miniature, write_photograph, write_table):
    _, splits, write = miniature
    root = write()
    with pytest.raises(DatalistError, match=r"size=128.*has the sizes \['512'\]"):
        idrid_datalist(root, size=128)
    write_photograph(root / "512" / "images" / "stray.jpg")
    with pytest.warns(UserWarning, match=r"no row in .*labels.csv: 1 \(stray.jpg\)"):
        idrid_datalist(root)
    write_table(root / "splits.csv", ("image", "patient", "split", "grade", "canonical"), splits)
    with pytest.raises(DatalistError, match=r"no column \['group'\]; its columns are \['image', 'patient'"):
        idrid_datalist(root)
