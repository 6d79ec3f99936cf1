"""Loading, saving and checking datalists."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.data import load_decathlon_datalist

from monai_retina_gen.data import SECTIONS, check_datalist, csv_datalist, load_datalist, make_datalist, save_datalist
from monai_retina_gen.errors import DatalistError


@pytest.fixture
def datalist(tmp_path, write_photograph):
    """Six photographs in `tmp_path/set`, one with a mask and one ungraded."""
    paths = [write_photograph(tmp_path / "set" / "images" / f"{i}.png") for i in range(6)]
    items = [{"image": path, "grade": i % 5, "group": f"eye{i}"} for i, path in enumerate(paths)]
    items[1]["ex"] = write_photograph(tmp_path / "set" / "masks" / "ex" / "1.png")
    del items[5]["grade"]
    sections = {"training": items[:3], "validation": items[3:4], "test": items[4:]}
    return make_datalist(sections, name="six", description="Six.", licence="CC0", patients_known=False)


def test_round_trip_and_metadata(datalist, tmp_path):
    save_datalist(datalist, tmp_path / "lists" / "d.json", tmp_path / "set")
    assert load_datalist(tmp_path / "lists" / "d.json", tmp_path / "set") == datalist
    assert datalist["patients"] == "unknown"
    assert "Patients are unknown" in datalist["description"]
    assert os.listdir(tmp_path / "lists") == ["d.json"]


def test_paths_are_relative_in_the_file_and_start_from_its_folder_by_default(datalist, tmp_path):
    save_datalist(datalist, tmp_path / "lists" / "d.json")
    content = json.loads((tmp_path / "lists" / "d.json").read_text())
    assert content["training"][0]["image"] == "../set/images/0.png"
    assert load_datalist(str(tmp_path / "lists" / "d.json")) == datalist


def test_monai_reads_the_same_items(datalist, tmp_path):
    save_datalist(datalist, tmp_path / "d.json", tmp_path / "set")
    for section in SECTIONS:
        items = load_decathlon_datalist(
            tmp_path / "d.json", is_segmentation=False, data_list_key=section, base_dir=tmp_path / "set"
        )
        assert items == datalist[section]


def test_empty_sections_are_left_out_of_the_file(datalist, tmp_path):
    save_datalist({**datalist, "test": []}, tmp_path / "d.json")
    assert "test" not in json.loads((tmp_path / "d.json").read_text())
    assert load_datalist(tmp_path / "d.json")["test"] == []


def test_saving_is_atomic(datalist, tmp_path):
    save_datalist(datalist, tmp_path / "d.json")
    before = (tmp_path / "d.json").read_bytes()
    with pytest.raises(DatalistError, match="JSON cannot hold"):
        save_datalist({**datalist, "name": object()}, tmp_path / "d.json")
    assert (tmp_path / "d.json").read_bytes() == before


def test_require_grade_and_grade_map(datalist):
    loaded = load_datalist(datalist, require_grade=True, grade_map="referable")
    assert [[item["grade"] for item in loaded[section]] for section in SECTIONS] == [[0, 0, 1], [1], [1]]
    assert datalist["test"][1].get("grade") is None
    assert len(datalist["test"]) == 2


def test_a_loaded_dict_is_copied_and_made_absolute(datalist, tmp_path):
    relative = {"training": [{"image": "images/0.png", "grade": 1}, "images/1.png"]}
    loaded = load_datalist(relative, tmp_path / "set")
    assert loaded["training"][1] == {"image": str(tmp_path / "set/images/1.png"), "group": "images/1"}
    assert relative["training"] == [{"image": "images/0.png", "grade": 1}, "images/1.png"]


def test_csv_by_its_standard_columns(datalist, tmp_path, write_table):
    rows = [("images/0.png", 3, "p1", "train", ""), ("images/1.png", "", "p2", "test", "masks/ex/1.png")]
    write_table(tmp_path / "t.csv", ("image", "grade", "group", "split", "ex"), rows, encoding="utf-8-sig")
    loaded = load_datalist(tmp_path / "t.csv", tmp_path / "set")
    root = str(tmp_path / "set")
    assert loaded["training"] == [{"image": f"{root}/images/0.png", "grade": 3, "group": "p1"}]
    assert loaded["test"] == [{"image": f"{root}/images/1.png", "group": "p2", "ex": f"{root}/masks/ex/1.png"}]
    assert loaded["patients"] == "known"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_spreadsheets_of_any_country(datalist, tmp_path, delimiter):
    header = delimiter.join(("image", '"grade"', "group", '"notes, with a comma, a second, and a third"'))
    rows = [delimiter.join((f"images/{i}.png", str(i), f"p{i}", '"0,5"')) for i in range(4)]
    (tmp_path / "t.csv").write_text("\r\n".join((header, *rows)), encoding="utf-8-sig")
    loaded = load_datalist(tmp_path / "t.csv", tmp_path / "set")
    found = {item["group"]: item["grade"] for section in SECTIONS for item in loaded[section]}
    assert found == {"p0": 0, "p1": 1, "p2": 2, "p3": 3}


@pytest.mark.parametrize("suffix", ["", "png", ".jpg"])
def test_table_of_ids_says_which_suffix_finds_the_files(datalist, tmp_path, write_table, suffix):
    write_table(tmp_path / "t.csv", ("image",), [("images/0",), ("images/1",)])
    with pytest.raises(DatalistError, match=r"there is one with \.png: --image-suffix \.png"):
        csv_datalist(tmp_path / "t.csv", tmp_path / "set", label_column=None, image_suffix=suffix)


@pytest.mark.parametrize(
    ("name", "dataset_dir", "message"),
    [
        ("messidor", None, "no such file or folder.*idrid, idrid_official"),
        ("missing.json", None, "missing.json"),
        ("aptos2019", None, "needs dataset_dir"),
        ("eyepacs", "", "needs dataset_dir"),
        ("hrf", "nowhere", "no such folder.*nowhere"),
    ],
)
def test_names_that_cannot_be_read(name, dataset_dir, message):
    with pytest.raises(DatalistError, match=message):
        load_datalist(name, dataset_dir)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"[]", "training, validation, test"),
        (b'{"training": {}}', "training, validation, test"),
        (b'{"training": [{"grade": 1}]}', "path of its 'image'"),
        (b'{"training": [{"image": "a.png", "ex": 1}]}', "'ex' of a.png is 1"),
        (b'{"training": [{"image": "a.png"}]}', "missing file of key 'image'.*a.png"),
    ],
)
def test_json_that_is_no_datalist(content, message, tmp_path):
    (tmp_path / "d.json").write_bytes(content)
    with pytest.raises(DatalistError, match=message):
        load_datalist(tmp_path / "d.json")


def test_a_folder_without_known_layout_lists_the_layouts(tmp_path):
    with pytest.raises(DatalistError, match=r"(?s)idrid:.*aptos2019: train.csv.*odir5k:.*folder:"):
        load_datalist(tmp_path)


def test_require_grade_without_any_grade(tmp_path, write_photograph):
    write_photograph(tmp_path / "a.png")
    with pytest.raises(DatalistError, match="no photograph in it has a grade"):
        load_datalist(tmp_path, require_grade=True)


def test_check_names_ten_and_the_count():
    items = [{"image": f"/nowhere/{i}.png", "group": str(i)} for i in range(12)]
    with pytest.raises(DatalistError, match=r"12 \(/nowhere/0.png, .*9.png, and 2 more\)") as error:
        check_datalist({"name": "far", "training": items})
    assert "/nowhere/10.png" not in str(error.value)
    check_datalist({"training": items}, allow_missing=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grade": 5}, r"grade is not in \[0, 1, 2, 3, 4\]: 1 \(.*0.png: 5\)"),
        ({"grade": "2.5"}, "no grade: 1 .*0.png: grade: '2.5' came"),
        ({"grade": True}, "grade: True came"),
        ({"grade": None}, "leave out items without a grade"),
        ({"grade": [0, 0, 1, 0, 0]}, "one-hot"),
        ({"group": "eye4"}, "group in several sections: 1 .eye4 in test and training"),
        ({"image": 3}, "no path under the key 'image'"),
        ({"ma": "/nowhere.png"}, "missing file of key 'ma': 1 ./nowhere.png"),
    ],
)
def test_check_names_the_bad_item(change, message, datalist):
    datalist["training"][0].update(change)
    with pytest.raises(DatalistError, match=message):
        check_datalist(datalist)


def test_check_takes_the_labels_that_are_allowed(datalist):
    for section in SECTIONS:
        for item in datalist[section]:
            item["dme"] = 1
    check_datalist(datalist, grades=(0, 1), label_key="dme")
    datalist["training"][0]["dme"] = 2
    with pytest.raises(DatalistError, match=r"dme is not in \[0, 1\]: 1 \(.*0.png: 2\)"):
        check_datalist(datalist, grades=(0, 1), label_key="dme")


def test_grades_come_out_as_integers_under_their_own_key(datalist, tmp_path):
    written = [(" 3", 3), ("2.0", 2), (1.0, 1)]
    for item, (grade, _) in zip(datalist["training"], written, strict=False):
        item["level"] = grade
    loaded = load_datalist(datalist, label_key="level", require_grade=True, grade_map="referable")["training"]
    assert [(item["level"], item["icdr_grade"]) for item in loaded] == [(1, 3), (1, 2), (0, 1)]
    table = tmp_path / "eyes.csv"
    table.write_text("image,level\n" + "".join(f"{item['image']},{item['level']}\n" for item in loaded))
    assert [item["level"] for section in SECTIONS for item in load_datalist(table, label_key="level")[section]]
    with pytest.raises(DatalistError, match=r"label_key='dme'"):
        load_datalist(datalist, label_key="dme", require_grade=True)


def test_labels_stay_labels_through_a_file(datalist, tmp_path):
    save_datalist(load_datalist(datalist, grade_map="referable"), tmp_path / "labels.json")
    again = load_datalist(tmp_path / "labels.json")
    mapped = load_datalist(datalist, grade_map="referable")
    assert [item["icdr_grade"] for item in again["training"]] == [item["icdr_grade"] for item in mapped["training"]]
    with pytest.raises(DatalistError, match="labels in place of grades already"):
        load_datalist(tmp_path / "labels.json", grade_map="referable")


def test_check_finds_repeated_paths_and_content(datalist, tmp_path, write_photograph):
    check_datalist(datalist, check_content=True)
    copy = tmp_path / "copy.png"
    copy.write_bytes((tmp_path / "set/images/0.png").read_bytes())
    datalist["test"].append({"image": str(copy), "group": "copy"})
    check_datalist(datalist)
    with pytest.raises(DatalistError, match=r"same content.*0.png = .*copy.png in test and training"):
        check_datalist(datalist, check_content=True)
    datalist["test"].append({"image": f"{tmp_path}/set/../copy.png", "group": "copy"})
    with pytest.raises(DatalistError, match=r"image listed more than once: 1 .*copy.png"):
        check_datalist(datalist)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["training", "test", "image", "grade", "group", "ex"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(content=json_values)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_read_or_refused_by_our_error(content, tmp_path):
    (tmp_path / "d.json").write_text(json.dumps(content))
    try:
        loaded = load_datalist(tmp_path / "d.json")
    except DatalistError:
        return
    assert all(isinstance(loaded[section], list) for section in SECTIONS)


@pytest.mark.parametrize(("name", "counts"), [("hrf", (27, 3, 15)), ("chasedb1", (18, 2, 8))])
def test_vessel_sets(mrg_data, name, counts):
    loaded = load_datalist(name, mrg_data / name, size=256)
    assert load_datalist(mrg_data / name, size=256) == loaded
    assert tuple(len(loaded[section]) for section in SECTIONS) == counts
    assert all({"vessel", "fov"} <= item.keys() and "/256/" in item["vessel"] for item in loaded["training"])
    item = loaded["test"][0]
    assert ("vessel2" in item, "eye" in item, "diagnosis" in item) == ((name == "chasedb1",) * 2 + (name == "hrf",))
    assert loaded["patients"] == ("known" if name == "chasedb1" else "unknown")
    with pytest.raises(DatalistError, match="no photograph in it has a grade"):
        load_datalist(name, mrg_data / name, require_grade=True)
