"""The index: what it says is checked before it is believed."""

from __future__ import annotations

import contextlib
import copy
import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_retina_gen.errors import ZooError
from monai_retina_gen.weights import check_member_path, parse_index

ENTRY: dict[str, Any] = {
    "name": "retina_vae",
    "version": "0.1.0",
    "file": "retina_vae_v0.1.0.zip",
    "sha256": "a" * 64,
    "bytes": 100,
    "files": {"LICENSE": {"sha256": "b" * 64, "bytes": 90}},
}


def _text(**changes: Any) -> str:
    return json.dumps({"format": 1, "bundles": [copy.deepcopy(ENTRY) | changes]})


def test_round_trip() -> None:
    entry = parse_index(_text(modes=["sample"], figures={"fid": 1.0}), "here").find("retina_vae")
    assert entry.unpacked_bytes == 90
    again = parse_index(json.dumps({"format": 1, "bundles": [entry.as_dict()]}), "here").find("retina_vae")
    assert again == entry


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../evil"}, "name is"),
        ({"name": "Retina"}, "name is"),
        ({"name": 3}, "name is"),
        ({"version": "1.0"}, "version is"),
        ({"version": "0.1.0/../.."}, "version is"),
        ({"file": "../retina_vae_v0.1.0.zip"}, "file is"),
        ({"file": "https://example.org/retina_vae_v0.1.0.zip"}, "file is"),
        ({"sha256": "A" * 64}, "sha256 is"),
        ({"sha256": None}, "sha256 is"),
        ({"bytes": -1}, "bytes is"),
        ({"bytes": True}, "bytes is"),
        ({"bytes": 1 << 40}, "bytes is"),
        ({"files": {}}, "files"),
        ({"files": {"a": 3}}, "want an object"),
        ({"files": {f"f{i}": ENTRY["files"]["LICENSE"] for i in range(1001)}}, "1 to 1000"),
        ({"files": {"../a": ENTRY["files"]["LICENSE"]}}, "outside"),
        ({"files": {"LICENSE": ENTRY["files"]["LICENSE"], "license": ENTRY["files"]["LICENSE"]}}, "upper and lower"),
    ],
)
def test_an_index_that_lies(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        parse_index(_text(**changes), "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a zoo's"),
        ('{"bundles": {}}', "not a zoo's"),
        ('{"bundles": [], "format": 2}', "pip install --upgrade"),
        ('{"bundles": [3], "format": 1}', "want an object"),
        (json.dumps({"format": 1, "bundles": [ENTRY, ENTRY]}), "twice"),
    ],
)
def test_what_is_no_index(text: str, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        parse_index(text, "here")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../a",
        "a/../b",
        "a//b",
        "./a",
        "a/",
        "",
        "C:\\a",
        "C:/a",
        "a\\b",
        "a\0b",
        "a\nb",
        "con",
        "nul.txt",
        " a",
        "a.",
        "a/b ",
        "x" * 300,
        "\u202etxt.exe",
        None,
        3,
    ],
)
def test_paths_that_could_mean_something_else_elsewhere(path: Any) -> None:
    with pytest.raises(ZooError, match="refused"):
        check_member_path(path, "here")


@given(st.text(max_size=30))
def test_every_accepted_path_stays_inside(path: str) -> None:
    try:
        check_member_path(path, "here")
    except ZooError:
        return
    inside = os.path.normpath(os.path.join("/bundle", path))
    assert inside == f"/bundle/{path}"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    for index in (
        value,
        {"format": 1, "bundles": value},
        {"format": 1, "bundles": [value]},
        {"format": 1, "bundles": [ENTRY | {"files": value}]},
    ):
        with contextlib.suppress(ZooError):
            parse_index(json.dumps(index), "here")
