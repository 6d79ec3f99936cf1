"""APTOS 2019, EyePACS, ODIR-5K, plain folders and CSV tables, in miniature trees."""

from __future__ import annotations

import contextlib
from operator import itemgetter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monai_retina_gen.data import (
    SECTIONS,
    csv_datalist,
    folder_datalist,
    load_datalist,
)
from monai_retina_gen.data.datalist_format import read_table
from monai_retina_gen.data.public_sets import ODIR_COLUMNS as COLUMNS
from monai_retina_gen.data.public_sets import grade_from_keywords
from monai_retina_gen.errors import DatalistError

ALL_TRAINING = {"fractions": (1, 0, 0)}


def everything(datalist):
    return [item for section in SECTIONS for item in datalist[section]]


@pytest.fixture
def aptos(tmp_path, write_photograph, write_table):
    """Twenty photographs; `img07` is a copy of `img02`, with the same grade."""
    rows = [(f"img{i:02d}", i % 5) for i in range(20)]
    for i, (name, _) in enumerate(rows):
        write_photograph(tmp_path / "train_images" / f"{name}.png", 2 if i == 7 else i)
    return tmp_path, rows, lambda: write_table(tmp_path / "train.csv", ("id_code", "diagnosis"), rows)


def test_aptos(aptos):
    root, rows, write = aptos
    write()
    datalist = load_datalist(root)
    assert datalist == load_datalist("aptos2019", root)
    assert datalist["patients"] == "unknown"
    items = {item["image"].rsplit("/", 1)[1]: item for item in everything(datalist)}
    assert {name: item["grade"] for name, item in items.items()} == {f"{name}.png": grade for name, grade in rows}
    assert items["img07.png"]["group"] == items["img02.png"]["group"]
    assert len({item["group"] for item in items.values()}) == 19


def test_aptos_problems(aptos, write_photograph):
    root, rows, write = aptos
    write_photograph(root / "train_images" / "stray.png")
    rows[7] = ("img07", 4)
    write()
    with pytest.warns(UserWarning, match="different grades") as warned:
        load_datalist("aptos2019", root)
    messages = " ".join(str(w.message) for w in warned)
    assert f"the table of {root}: 1 (stray)" in messages
    assert "different grades: 1 (" in messages
    rows[0], rows[1], rows[2] = ("gone", 1), ("img19", 0), ("img02", 5)
    write()
    with pytest.raises(DatalistError, match=r"img19.*missing file: 1 \(gone\).*img02: '5'"):
        load_datalist("aptos2019", root)


def test_eyepacs(tmp_path, write_photograph, write_table):
    rows = [(f"{patient}_{eye}", patient % 5) for patient in range(10, 30) for eye in ("left", "right")]
    for name, _ in rows:
        write_photograph(tmp_path / "train" / f"{name}.jpeg")
    write_table(tmp_path / "trainLabels.csv", ("image", "level"), rows)
    datalist = load_datalist(tmp_path)
    assert datalist == load_datalist("eyepacs", tmp_path)
    assert datalist["patients"] == "known"
    assert [len(datalist[section]) for section in SECTIONS] == [28, 4, 8]
    item = next(item for item in everything(datalist) if item["image"].endswith("/13_right.jpeg"))
    assert item == {"image": f"{tmp_path}/train/13_right.jpeg", "group": "13", "eye": "right", "grade": 3}
    write_table(tmp_path / "trainLabels.csv", ("image", "level"), [*rows[2:], rows[3], ("13_middle", 1)])
    with pytest.raises(
        DatalistError, match=r"two rows: 1 \(11_right\).*missing file: 1 \(13_middle\).*_right: 1 \(13_middle\)"
    ):
        load_datalist("eyepacs", tmp_path)
    write_table(tmp_path / "trainLabels.csv", ("image", "level"), rows[2:])
    with pytest.warns(UserWarning, match=r"2 \(10_left, 10_right\)"):
        load_datalist("eyepacs", tmp_path)


ODIR_ROWS = [
    (0, "0_left.jpg", "0_right.jpg", "cataract", "normal fundus"),
    (1, "1_left.jpg", "1_right.jpg", "normal fundus\uff0clens dust", "severe proliferative diabetic retinopathy"),
    (2, "2_left.jpg", "2_right.jpg", "mild nonproliferative retinopathy", "low image quality"),
    (3, "3_left.jpg", "3_right.jpg", "Moderate non proliferative retinopathy, drusen", "suspected glaucoma"),
]


@pytest.fixture
def odir(tmp_path, write_photograph):
    for row in ODIR_ROWS:
        for name in row[1:3]:
            write_photograph(tmp_path / "Training Images" / name)
    return tmp_path


@pytest.mark.parametrize("repeated", [False, True])
def test_odir(odir, write_table, repeated):
    # one common copy of the table has a row per eye, each with the columns of both eyes
    rows = [row for row in ODIR_ROWS for _ in range(2 if repeated else 1)]
    write_table(odir / "full_df.csv", COLUMNS[:2] + COLUMNS[3:4] + COLUMNS[2:3] + COLUMNS[4:], rows)
    datalist = load_datalist(odir)
    assert datalist == load_datalist("odir5k", odir)
    grades = {item["image"].rsplit("/", 1)[1]: item["grade"] for item in everything(datalist)}
    assert grades == {"0_right.jpg": 0, "1_right.jpg": 4, "2_left.jpg": 1, "3_left.jpg": 2}
    assert "bad quality: 2; no grade: 2" in datalist["description"]
    item = next(item for item in everything(datalist) if item["group"] == "3")
    assert (item["eye"], item["diagnosis"]) == ("left", "Moderate non proliferative retinopathy, drusen")


def test_odir_keywords():
    assert grade_from_keywords("severe nonproliferative retinopathy") == 3
    assert grade_from_keywords("proliferative diabetic retinopathy\uff0claser spot") == 4
    assert grade_from_keywords("diabetic retinopathy") == "no grade"
    assert grade_from_keywords("normal fundus, mild nonproliferative retinopathy") == "several grades"
    assert grade_from_keywords("") == "no grade"


def test_odir_problems(odir, write_table):
    header = COLUMNS[:2] + COLUMNS[3:4] + COLUMNS[2:3] + COLUMNS[4:]
    (odir / "data.xlsx").touch()
    with pytest.raises(DatalistError, match=r"data.xlsx.*save the annotations as CSV"):
        load_datalist(odir)
    write_table(odir / "data.csv", header, [*ODIR_ROWS[1:], (4, "4_left.jpg", "3_right.jpg", "", "normal fundus")])
    with pytest.raises(DatalistError, match=r"missing file: 1 \(4_left.jpg\).*different annotations: 1 \(3_right"):
        load_datalist("odir5k", odir)
    write_table(odir / "data.csv", header, ODIR_ROWS[1:])
    with pytest.warns(UserWarning, match=r"2 \(0_left.jpg, 0_right.jpg\)"):
        load_datalist("odir5k", odir)


def test_folder_by_grade(tmp_path, write_photograph):
    for i in range(30):
        write_photograph(tmp_path / "set" / str(i % 3) / f"{i}.jpg", i)
    datalist = load_datalist(tmp_path / "set")
    assert datalist == load_datalist("folder", tmp_path / "set")
    assert datalist["name"] == "set"
    assert [len(datalist[section]) for section in SECTIONS] == [21, 3, 6]
    assert all(int(item["image"].split("/")[-2]) == item["grade"] for item in everything(datalist))
    write_photograph(tmp_path / "set" / "loose.png")
    (tmp_path / "set" / "masks").mkdir()
    write_photograph(tmp_path / "set" / "1" / "copy.jpg", 0)
    with pytest.warns(UserWarning, match="different grades") as warned:
        copied = folder_datalist(tmp_path / "set")
    messages = " ".join(str(w.message) for w in warned)
    assert "2 (masks, loose.png)" in messages
    assert "different grades: 1 (" in messages
    assert len(everything(copied)) == 31
    (tmp_path / "set" / "5").mkdir()
    with pytest.raises(DatalistError, match=r"not one of the grades 0 to 4: 1 \(5\)"):
        folder_datalist(tmp_path / "set")


def test_flat_folder(tmp_path, write_photograph):
    for name in ("b.png", "a.JPG", ".hidden.png"):
        write_photograph(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    assert sorted(everything(folder_datalist(tmp_path)), key=itemgetter("group")) == [
        {"image": f"{tmp_path}/a.JPG", "group": "a"},
        {"image": f"{tmp_path}/b.png", "group": "b"},
    ]
    (tmp_path / "none").mkdir()
    with pytest.raises(DatalistError, match="no photographs found"):
        folder_datalist(tmp_path / "none")


def test_csv(tmp_path, write_photograph, write_table):
    for i in range(10):
        write_photograph(tmp_path / "images" / f"{i}.png")
    table = write_table(
        tmp_path / "t.csv", ("id", "dr", "who"), [(i, "3.0" if i % 2 else "", i // 2) for i in range(10)]
    )
    arguments = {"image_column": "id", "label_column": "dr", "image_suffix": ".png"}
    datalist = csv_datalist(table, tmp_path / "images", group_column="who", **arguments, **ALL_TRAINING)
    assert datalist["training"][:2] == [
        {"image": f"{tmp_path}/images/0.png", "group": "0"},
        {"image": f"{tmp_path}/images/1.png", "group": "0", "grade": 3},
    ]
    assert datalist["patients"] == "known"
    assert csv_datalist(table, tmp_path / "images", **arguments)["patients"] == "unknown"
    with pytest.raises(DatalistError, match=r"no column \['patient'\]; its columns are \['id', 'dr', 'who'\]"):
        csv_datalist(table, tmp_path / "images", group_column="patient", **arguments)
    with pytest.raises(DatalistError, match=r"split is not train, val or test.*0.png: '0'"):
        csv_datalist(table, tmp_path / "images", split_column="who", **arguments)


def test_splits_do_not_depend_on_where_the_photographs_lie(tmp_path, write_photograph, write_table):
    names = [f"{i}.png" for i in range(20)]
    for root in (tmp_path / "here", tmp_path / "there"):
        for i, name in enumerate(names):
            write_photograph(root / name, i)
    table = write_table(tmp_path / "t.csv", ("image",), [(name,) for name in names])
    for read in (folder_datalist, lambda root: load_datalist(table, root)):
        here, there = (
            [sorted(item["image"].rsplit("/", 1)[1] for item in datalist[section]) for section in SECTIONS]
            for datalist in (read(tmp_path / "here"), read(tmp_path / "there"))
        )
        assert here == there


def test_csv_problems(tmp_path, write_photograph, write_table):
    for name in "abc":
        write_photograph(tmp_path / f"{name}.png")
    rows = [("a.png", 1, "p", "train"), ("b.png", 2, "p", "test"), ("c.png", 2, "q", "test")]
    header = ("image", "grade", "group", "split")
    table = write_table(tmp_path / "t.csv", header, rows)
    with pytest.raises(DatalistError, match=r"group in several sections: 1 \(p\)"):
        load_datalist(table)
    write_table(table, header, [("a.png", 9, "p", "val"), ("a.png", 1, "", "val"), ("x.png", "one", "q", "val")])
    with pytest.raises(DatalistError, match=r"x.png.*two rows: 1 .*'9'.*no value in column group.*"):
        load_datalist(table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n ,\n", "is empty"),
        (b"image\n", "no photographs found"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read as a CSV table in UTF-8"),
        (b"image\0\n", "NUL"),
        (b'image\n"a.png\n', "cannot be read as a CSV"),
        (b"image,image\na,b\n", "appears twice in the header"),
        (b"image\na.png,3\n", "data row 1 has 2 cells"),
        (b"photo\na.png\n", r"no column 'image'; its columns are \['photo'\]"),
    ],
)
def test_unreadable_tables(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatalistError, match=message):
        load_datalist(tmp_path / "t.csv")
    with pytest.raises(DatalistError, match="No such table"):
        read_table(tmp_path / "none.csv")


@given(content=st.binary(max_size=60) | st.text("image,grade0\n\"'é\0", max_size=60).map(str.encode))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused_by_our_error(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with contextlib.suppress(DatalistError):
        load_datalist(tmp_path / "t.csv")
