"""Votes of several readers, and the filter by selection rate."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import SECTIONS, SelectionRateFilter, load_datalist, votes_datalist, write_image
from monai_retina_gen.data.votes import selection_rate
from monai_retina_gen.errors import DatalistError

LABELS = ("esotropia", "exotropia", "normal")
READERS = [f"reader{i}" for i in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve files whose bytes differ; nothing here reads the pictures."""
    root = tmp_path_factory.mktemp("eyes")
    for i in range(12):
        (root / f"{i}.png").write_bytes(b"eye %d" % i)
    return root


def _write(path: Path, rows: list[list[Any]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def _items(datalist: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {Path(item["image"]).name: item for section in SECTIONS for item in datalist[section]}


votes_of_photographs = st.lists(
    st.tuples(st.sampled_from(LABELS), st.lists(st.sampled_from(("", *LABELS)), min_size=4, max_size=4)),
    min_size=1,
    max_size=12,
).filter(lambda rows: all(any(votes) for _, votes in rows))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=votes_of_photographs)
def test_both_forms_say_the_same_and_rates_are_shares(folder: Path, tmp_path: Path, rows: list[Any]) -> None:
    wide = [["image", "label", *READERS], *([f"{i}.png", label, *v] for i, (label, v) in enumerate(rows))]
    long = [["image", "grade", "reader", "label"]]
    long += [
        [f"{i}.png", label, r, v] for i, (label, votes) in enumerate(rows) for r, v in zip(READERS, votes, strict=True)
    ]
    by_photograph = votes_datalist(_write(tmp_path / "v.csv", wide), folder)
    by_vote = votes_datalist(_write(tmp_path / "w.csv", long), folder)
    assert {s: by_photograph[s] for s in (*SECTIONS, "classes")} == {s: by_vote[s] for s in (*SECTIONS, "classes")}
    seen = sorted({name for label, votes in rows for name in (label, *votes) if name})
    assert by_photograph["classes"] == seen
    for i, (label, votes) in enumerate(rows):
        item, given_votes = _items(by_photograph)[f"{i}.png"], [vote for vote in votes if vote]
        assert item["votes"] == given_votes
        assert (item["label"], item["grade"]) == (label, seen.index(label))
        assert item["selection_rate"] == pytest.approx(given_votes.count(label) / len(given_votes))


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(1, 10).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=20),
    low=st.integers(0, 100),
    high=st.integers(0, 100),
)
def test_filter_keeps_order_nests_and_keeps_all_at_zero(counts: list[tuple[int, int]], low: int, high: int) -> None:
    items = [
        {"image": str(i), "selection_rate": selection_rate(["a"] * k + ["b"] * (n - k), "a")}
        for i, (k, n) in enumerate(counts)
    ]
    low, high = sorted((low, high))
    kept = SelectionRateFilter(low / 100)(items)
    assert kept == [
        item for item, (k, n) in zip(items, counts, strict=True) if 100 * k >= low * n
    ]  # exact, in whole numbers
    assert SelectionRateFilter(high / 100)(kept) == SelectionRateFilter(high / 100)(items)
    assert SelectionRateFilter(low / 100)(kept) == kept
    assert SelectionRateFilter(0)(items) == items


def test_majority_is_the_label_without_a_reference(folder: Path, tmp_path: Path) -> None:
    table = _write(tmp_path / "v.csv", [["image", "a", "b", "c"], ["0.png", "x", "y", "x"], ["1.png", "", "", "y"]])
    found = _items(votes_datalist(table, folder))
    assert [found[n]["label"] for n in ("0.png", "1.png")] == ["x", "y"]
    assert [found[n]["selection_rate"] for n in ("0.png", "1.png")] == [2 / 3, 1.0]
    tie = _write(tmp_path / "t.csv", [["image", "a", "b"], ["0.png", "x", "y"]])
    with pytest.raises(DatalistError, match=r"no majority.*0\.png"):
        votes_datalist(tie, folder)


def test_grades_are_never_renumbered(folder: Path, tmp_path: Path) -> None:
    table = _write(tmp_path / "v.csv", [["image", "a", "b", "grade"], ["0.png", "4", "2.0", "4"], ["1.png", 0, 0, 0]])
    datalist = votes_datalist(table, folder)
    item = _items(datalist)["0.png"]
    assert (item["grade"], item["votes"], datalist["classes"]) == (4, ["4", "2"], ["0", "1", "2", "3", "4"])
    table = _write(tmp_path / "w.csv", [["image", "a"], ["0.png", "5"]])
    with pytest.raises(DatalistError, match="grades 0-4, but 5"):
        votes_datalist(table, folder)


def test_split_and_group_columns(folder: Path, tmp_path: Path) -> None:
    rows = [["image", "split", "group", "ann"], ["0.png", "train", "p", "x"], ["1.png", "test", "q", "y"]]
    datalist = votes_datalist(_write(tmp_path / "v.csv", rows), folder)
    assert [item["group"] for item in datalist["training"]] == ["p"]
    assert len(datalist["test"]) == 1
    assert datalist["patients"] == "known"
    rows[2][2] = "p"
    with pytest.raises(DatalistError, match="group in several sections"):
        votes_datalist(_write(tmp_path / "v.csv", rows), folder)


def test_readers_may_be_named(folder: Path, tmp_path: Path) -> None:
    table = _write(tmp_path / "v.csv", [["image", "age", "ann", "bob"], ["0.png", "61", "x", "x"]])
    assert votes_datalist(table, folder, readers=["ann", "bob"])["classes"] == ["x"]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([["image"], ["0.png"]], {}, "no column of a reader"),
        ([["image", "a"], ["absent.png", "x"]], {}, r"missing file.*absent\.png"),
        ([["image", "a"], ["0.png", "x"], ["0.png", "y"]], {}, r"two rows.*0\.png"),
        ([["image", "a"], ["0.png", "x"], ["./0.png", "y"]], {}, r"two rows.*0\.png"),
        ([["image", "a", "b"], ["0.png", "x", ""]], {"min_readers": 2}, r"min_readers=2.*0\.png: 1"),
        ([["image", "a"], ["0.png", ""]], {}, r"min_readers=1.*0\.png: 0"),
        ([["image", "a", "label"], ["0.png", "x", ""]], {}, r"no value in column label.*0\.png"),
        ([["image", "a", "label", "grade"], ["0.png", "x", "x", "x"]], {}, "two reference labels"),
        ([["image", "reader", "label"], ["0.png", "a", "x"], ["0.png", "a", "y"]], {}, r"two votes.*0\.png: a"),
        ([["image", "reader"], ["0.png", "a"]], {}, "needs a column label or vote"),
        (
            [["image", "reader", "vote", "label"], ["0.png", "a", "x", "x"], ["0.png", "b", "x", "y"]],
            {},
            r"differ in label.*0\.png",
        ),
        ([["image", "a"], ["0.png", "x"]], {"min_readers": 0}, "min_readers=0"),
        ([["image", "a", "group"], ["0.png", "x", ""]], {}, r"no value in column group.*0\.png"),
        ([["image", "a", *"bcdef"], ["0.png", "t", *"uvwxy"], ["1.png", *"tttttt"]], {}, "no majority"),
        ([["image", "a"], *([f"{i}.png", word] for i, word in enumerate("uvwxyz"))], {}, "at most 5"),
    ],
)
def test_errors_name_what_is_wrong(
    folder: Path, tmp_path: Path, rows: list[list[Any]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatalistError, match=message):
        votes_datalist(_write(tmp_path / "v.csv", rows), folder, **options)


def test_command_writes_what_load_datalist_reads(tmp_path: Path, capsys: Any) -> None:
    (folder := tmp_path / "eyes").mkdir()
    for i in range(6):  # the command opens every photograph
        write_image(folder / f"{i}.png", torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(i)))
    rows = [["image", "a", "b"], *([f"{i}.png", word, "u"] for i, word in enumerate("uvwxyz"))]
    rows = [[*row, "u"] if i else [*row, "c"] for i, row in enumerate(rows)]
    table, out = _write(tmp_path / "votes.csv", rows), tmp_path / "my.json"
    command = ["datalist", "votes", str(folder), "--votes", str(table), "--out", str(out)]
    assert main(command) == 2
    assert "two" not in capsys.readouterr().err
    assert main([*command, "--no-grades"]) == 0
    assert "0 u, 1 v" in capsys.readouterr().out
    loaded = load_datalist(out)
    assert loaded["classes"] == list("uvwxyz")
    rates = Counter(round(item["selection_rate"], 2) for item in _items(loaded).values())
    assert rates == {1.0: 1, 0.67: 5}
    assert not any("grade" in item for item in _items(loaded).values())
    cut = SelectionRateFilter(0.7, sections=SECTIONS)(loaded)
    assert list(_items(cut)) == ["0.png"]
    assert json.loads(json.dumps(cut)) == cut
    assert main(["datalist", "votes", str(folder), "--out", str(out)]) == 2
    assert "--votes go together" in capsys.readouterr().err


def test_filter_refuses_what_it_cannot_judge() -> None:
    with pytest.raises(ValueError, match="threshold=60"):
        SelectionRateFilter(60)
    with pytest.raises(ValueError, match="threshold=nan"):
        SelectionRateFilter(float("nan"))
    with pytest.raises(DatalistError, match="sections"):
        SelectionRateFilter(0.6, sections=["train"])
    with pytest.raises(DatalistError, match=r"no selection_rate.*a\.png"):
        SelectionRateFilter(0)([{"image": "a.png"}])
    with pytest.raises(ValueError, match="at least one reader"):
        selection_rate([], "x")
