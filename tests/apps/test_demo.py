"""The demo runs from nothing to its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_retina_gen.__main__ import main


@pytest.mark.slow
def test_demo_on_given_photographs(phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "--data", str(phantom_folder / "datalist.json"), "--out", str(tmp_path)]
    assert main([*arguments, "--vae-epochs", "1", "--grader-epochs", "1", "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "report.html" in printed
    assert "python -m monai_retina_gen study" in printed
    study = json.loads((tmp_path / "study" / "study.json").read_text())
    assert {row["arm"] for row in study["sets"]["test"]} == {"oversample", "sample"}
    assert "<html" in (tmp_path / "report.html").read_text()[:500]
