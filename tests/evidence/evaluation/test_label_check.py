from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import cohen_kappa_score
from torch import Tensor, nn

from monai_retina_gen.__main__ import main
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.evidence.evaluation.label_agreement import GraderJudge, label_check


class ByRed(nn.Module):
    """Sees the grade that the red channel codes, and never more than `limit`."""

    def __init__(self, limit: int = 4) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, images: Tensor) -> Tensor:
        grade = (images[:, 0].mean((1, 2)) * 5 - 0.5).round().clamp(max=self.limit)
        return nn.functional.one_hot(grade.long(), 5).float()


def images(grades: list[int], groups: list[str] | None = None) -> ImageSet:
    pixels = torch.zeros(len(grades), 3, 8, 8)
    pixels[:, 0] = ((torch.tensor(grades) + 0.5) / 5)[:, None, None]
    names = [f"{i}.png" for i in range(len(grades))]
    return ImageSet((pixels * 255).round().to(torch.uint8), grades, names, groups or [""] * len(grades))


def test_agreement_is_that_of_the_graders(tmp_path: Path) -> None:
    grades = [0, 1, 2, 3, 4] * 12
    judges = [GraderJudge(ByRed(), name="sees all"), GraderJudge(ByRed(3), name="never 4", image_size=16)]
    result = label_check(images(grades), images(grades), judges, out=tmp_path)
    first, second = (found["generated"] for found in result["graders"])
    assert first["agreement"]["value"] == 1
    assert second["agreement"]["value"] == pytest.approx(0.8)
    assert second["agreement_per_grade"]["value"] == [1, 1, 1, 1, 0]
    expected = cohen_kappa_score(grades, [min(g, 3) for g in grades], weights="quadratic")
    assert second["kappa"]["value"] == pytest.approx(expected)
    pooled = result["generated"]["agreement"]
    assert pooled["value"] == pytest.approx(0.9)
    assert (pooled["n"], pooled["n_groups"]) == (120, 60)
    assert pooled["low"] < 0.9 < pooled["high"]
    assert result["real"] == result["generated"]
    assert json.loads((tmp_path / "label_check.json").read_text()) == result
    assert result["warnings"] == []


def test_edits_of_one_photograph_are_drawn_together(tmp_path: Path) -> None:
    edits = images([1, 2, 3, 1], ["a", "a", "b", "b"])
    result = label_check(edits, images([0, 1]), [GraderJudge(ByRed(), name="sees all")], out=tmp_path)
    assert result["generated"]["agreement"]["n_groups"] == 2
    assert result["data"]["edits"] == 4
    assert any("not cross-fitted" in w for w in result["warnings"])
    assert any("generated images of grade 0, 1, 2, 3, 4" in w for w in result["warnings"])


def test_nothing_to_judge(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 graders"):
        label_check(images([0]), images([0]), [], out=tmp_path)


def test_command(vae_bundle: Path, grader_bundle: Path, phantom_list: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["evaluate", "--labels", "--generator", str(vae_bundle), "--datalist", str(phantom_list)]
    words += ["--per-grade", "1", "--graders", str(grader_bundle), str(grader_bundle), "--out", str(tmp_path / "c")]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "generated: agreement" in printed
    assert len(json.loads((tmp_path / "c" / "label_check.json").read_text())["graders"]) == 2
