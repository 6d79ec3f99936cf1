"""DR-image-dataset and Messidor-2, in miniature trees."""

from __future__ import annotations

import shutil

import pytest

from monai_retina_gen.data import SECTIONS, load_datalist
from monai_retina_gen.data.public_sets import CLASSES
from monai_retina_gen.errors import DatalistError


def everything(datalist):
    return [item for section in SECTIONS for item in datalist[section]]


@pytest.fixture
def classes(tmp_path, write_photograph):
    """Two patients in each of the ten classes; the fourth patient's eyes differ."""
    for number in range(1, 11):
        for patient in (number, number + 10):
            write_photograph(tmp_path / CLASSES / f"{number} - a class" / f"Patient{patient:03d}_L.jpg")
    write_photograph(tmp_path / CLASSES / "1 - a class" / "Patient004_R.jpg")
    return tmp_path


def test_ten_classes_are_five_grades(classes):
    datalist = load_datalist(classes)
    assert datalist == load_datalist("dr_images", classes)
    assert datalist["patients"] == "known"
    items = everything(datalist)
    assert len(items) == 21
    grades = {item["class"]: item["grade"] for item in items}
    assert [grades[number] for number in range(1, 11)] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 4]
    assert {item["class"] for item in items if item.get("maculopathy")} == {3, 5, 7, 9}
    assert {item["class"] for item in items if "maculopathy" not in item} == {10}
    fourth = [item for item in items if item["group"] == "004"]
    assert sorted((item["eye"], item["grade"]) for item in fourth) == [("left", 2), ("right", 0)]
    assert any(all(item in datalist[section] for item in fourth) for section in SECTIONS)


def test_ten_classes_problems(classes, write_photograph):
    write_photograph(classes / CLASSES / "2 - a class" / "Patient001_L.jpg")
    write_photograph(classes / CLASSES / "2 - a class" / "eye.jpg")
    (classes / CLASSES / "other").mkdir()
    with pytest.raises(DatalistError) as caught:
        load_datalist("dr_images", classes)
    for words in ("photograph in two classes", "Patient001_L", "eye.jpg", "number from 1 to 10", "other"):
        assert words in str(caught.value)
    shutil.rmtree(classes / CLASSES)
    (classes / CLASSES).mkdir()
    with pytest.raises(DatalistError, match="1 - No DR"):
        load_datalist("dr_images", classes)


HEADER = ("image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable")


@pytest.fixture
def messidor(tmp_path, write_photograph, write_table):
    """Six photographs of three patients; one cannot be graded, names differ in case and suffix."""
    names = ["20051020_43808_0100_PP", "20051020_43832_0100_PP", "IM000001", "IM000002", "a", "b"]
    for name in names:
        write_photograph(tmp_path / "IMAGES" / f"{name}.{'JPG' if name.startswith('IM') else 'png'}")
    grades = [0, 1, 2, 3, "", 4]
    rows = [
        (f"{name}.jpg" if name.startswith("IM") else f"{name}.png", grade, int(grade == 2) if grade != "" else "",
         int(grade != "")) for name, grade in zip(names, grades, strict=True)
    ]  # fmt: skip
    write_table(tmp_path / "messidor_data.csv", HEADER, rows)
    return tmp_path, rows


def test_messidor2(messidor, write_table):
    root, rows = messidor
    datalist = load_datalist(root)
    assert datalist == load_datalist("messidor2", root)
    assert datalist["patients"] == "unknown"
    assert "not gradable: 1" in datalist["description"]
    items = {item["image"].rsplit("/", 1)[1]: item for item in everything(datalist)}
    assert [items[name]["grade"] for name in sorted(items)] == [0, 1, 2, 3, 4]
    assert [name for name, item in items.items() if item["dme"]] == ["IM000001.JPG"]
    pairs = [(rows[i][0], rows[i + 1][0]) for i in (0, 2)] + [("", "b.png")]
    write_table(root / "pairs.csv", ("left", "right"), pairs)
    paired = load_datalist(root)
    assert paired["patients"] == "known"
    groups = {item["image"].rsplit("/", 1)[1]: item["group"] for item in everything(paired)}
    assert groups["IM000001.JPG"] == groups["IM000002.JPG"] != groups["b.png"]


def test_messidor2_problems(messidor, write_table):
    root, rows = messidor
    write_table(root / "messidor_data.csv", HEADER, [*rows, rows[0], ("c.png", 7, 0, 1)])
    write_table(root / "pairs.csv", ("left", "right"), [("a.png", "b.png"), ("b.png", "c.png")])
    with pytest.raises(DatalistError) as caught:
        load_datalist("messidor2", root)
    for words in ("photograph in two rows", "20051020_43808", "missing file", "c.png", "photograph in two pairs"):
        assert words in str(caught.value)
    (root / "IMAGES" / "stray.png").write_bytes(b"")
    (root / "pairs.csv").unlink()
    write_table(root / "messidor_data.csv", HEADER, rows)
    with pytest.warns(UserWarning, match="stray"):
        load_datalist("messidor2", root)
