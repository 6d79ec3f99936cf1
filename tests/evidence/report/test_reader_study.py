from __future__ import annotations

import base64
import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from monai_retina_gen.__main__ import main
from monai_retina_gen.errors import DatalistError
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.evidence.report.reader_study import read_answers, read_key, reader_study, score_answers


def images(count: int, kind: str, size: int = 16) -> ImageSet:
    pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
    return ImageSet(pixels, [2] * count, [f"{kind}{i}.png" for i in range(count)], [""] * count)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return reader_study(images(3, "photograph"), images(4, "synthetic"), out=tmp_path)


def test_page_is_blinded_and_needs_no_network(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for word in ("photograph", "synthetic", "http:", "https:", 'src="//', "fetch(", "@import"):
        assert word not in text
    uris = json.loads(re.search(r"images = (\[.*?\]), store", text).group(1))  # type: ignore[union-attr]
    assert len(uris) == 7
    for uri in uris:  # the same chunks in each: nothing but the pixels differs
        data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert data[16:29] == base64.b64decode(uris[0].split(",")[1])[16:29]
        assert b"tEXt" not in data
        assert b"iTXt" not in data


def test_key_names_every_image_once(page: Path) -> None:
    key = read_key(page.parent / "key.csv")
    assert sorted(key, key=int) == [str(i) for i in range(1, 8)]
    assert sorted(key.values()) == ["generated"] * 4 + ["real"] * 3


def test_order_depends_on_the_seed(tmp_path: Path) -> None:
    real, generated = images(8, "r"), images(8, "g")
    keys = [
        read_key(reader_study(real, generated, out=tmp_path / str(i), seed=seed).parent / "key.csv")
        for i, seed in enumerate([0, 0, 1])
    ]
    assert keys[0] == keys[1] != keys[2]


def test_different_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatalistError, match="give the class away"):
        reader_study(images(2, "r", 16), images(2, "g", 8), out=tmp_path)


KEY = {"1": "real", "2": "generated", "3": "real", "4": "generated"}


def _csv(path: Path, rows: list[str]) -> Path:
    path.write_text("id,answer,realism\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["1,real,5", "2,real,3", "3,real,4"], r"1 images have no answer, such as \['4'\]"),
        (["1,real,5", "1,real,5", "2,real,3", "3,real,4", "4,real,1"], r"\['1'\] stand more than once"),
        (["1,real,5", "2,real,3", "3,real,4", "4,real,1", "9,real,1"], r"\['9'\] are not in the key"),
        (["1,real,5", "2,maybe,3", "3,real,4", "4,real,1"], "image 2 has answer 'maybe'"),
        (["1,real,6", "2,real,3", "3,real,4", "4,real,1"], "realism '6'"),
        ([], "has no rows"),
    ],
)
def test_wrong_answers_are_named(rows: list[str], problem: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=problem):
        read_answers(_csv(tmp_path / "a.csv", rows), KEY)


def test_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,answer\n1,real\n")
    with pytest.raises(ValueError, match="no column realism"):
        read_answers(tmp_path / "a.csv", KEY)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 5)), min_size=2, max_size=30))
def test_figures_are_scikit_learns(rows: list[tuple[bool, bool, int]]) -> None:
    names = ["real", "generated"]
    key = {str(i): names[truth] for i, (truth, _, _) in enumerate(rows)}
    answers = {str(i): (names[said], realism) for i, (_, said, realism) in enumerate(rows)}
    figures = score_answers([answers], key)["figures"]
    truth, said = [r[0] for r in rows], [r[1] for r in rows]
    assert figures["accuracy"]["value"] == pytest.approx(accuracy_score(truth, said))
    for name, oracle in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        if figures[name]["value"] is not None:
            assert figures[name]["value"] == pytest.approx(oracle(truth, said, zero_division=0))
    for name, wanted in (("realism_real", False), ("realism_generated", True)):
        scores = [r[2] for r in rows if r[0] == wanted]
        assert figures[name]["value"] == (pytest.approx(sum(scores) / len(scores)) if scores else None)


def test_readers_who_differ_widen_the_interval() -> None:
    right = {i: (c, 4) for i, c in KEY.items()}
    wrong = {i: ("real" if c == "generated" else "generated", 2) for i, c in KEY.items()}
    result = score_answers([right, wrong], KEY)
    assert result["figures"]["accuracy"] == {"value": 0.5, "low": 0.0, "high": 1.0}  # another reader may be either
    alike = score_answers([right, right], KEY)["figures"]
    assert alike["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert alike["realism_real"]["value"] == alike["realism_real"]["low"] == 4
    assert (result["n_readers"], result["n_images"], result["chance_accuracy"]) == (2, 4, 0.5)


def test_command(vae_bundle: Path, phantom_list: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["report", "--blind", "5", "--datalist", str(phantom_list), "--out", str(tmp_path)]
    assert main([*words, "--generator", str(vae_bundle)]) == 0
    with open(tmp_path / "key.csv", encoding="utf-8", newline="") as file:
        rows = [f"{row['id']},{row['class']},3" for row in csv.DictReader(file)]
    answers = _csv(tmp_path / "answers.csv", rows)
    score = ["report", "--score", str(answers), "--out", str(tmp_path)]
    assert main([*score, "--key", str(tmp_path / "key.csv")]) == 0
    assert "accuracy: 1.000" in capsys.readouterr().out
    assert json.loads((tmp_path / "score.json").read_text())["figures"]["realism_real"]["value"] == 3
    assert main(score) == 2
    assert "--key is missing" in capsys.readouterr().err
    assert main(words) == 2
    assert "one of --images and --generator" in capsys.readouterr().err
