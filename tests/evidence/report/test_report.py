from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import load_datalist
from monai_retina_gen.evidence.audit.copying_audit import audit
from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.generator_evaluation import GeneratorEvaluation
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet, photographs
from monai_retina_gen.evidence.evaluation.label_agreement import GraderJudge, label_check
from monai_retina_gen.evidence.report.html import figure, page, paragraph, section, table, warnings
from monai_retina_gen.evidence.report.pictures import read_training
from monai_retina_gen.evidence.report.reader_study import score_answers
from monai_retina_gen.evidence.report.report_page import report


class Page(HTMLParser):
    """Counts tags, checks that they close, and collects what would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


class Grader(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot((images.mean((1, 2, 3)) * 50).long() % 5, 5).float()


@pytest.fixture(scope="module")
def parts(vae_bundle: Path, phantom_list: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parts")
    pixels = nn.Sequential(nn.AvgPool2d(8), nn.Flatten())
    extractor = Extractor(pixels, name="pixels <b>", sha256="", input_size=32)
    datalist = load_datalist(phantom_list)
    train, holdout = (photographs(datalist[s], 64) for s in ("training", "validation"))
    GeneratorEvaluation(
        generator=str(vae_bundle),
        items=datalist["validation"],
        extractor=extractor,
        output_dir=folder / "evaluation",
        pairs=1,
        lpips=False,
    ).run()
    generated = ImageSet(holdout.images.flip(-1), holdout.grades, holdout.names, [""] * len(holdout))
    audit(generated, train, holdout, extractor=extractor, out=folder / "audit")
    label_check(generated, holdout, [GraderJudge(Grader(), name="tiny")], out=folder / "labels")
    score = score_answers([{"1": ("real", 5), "2": ("real", 3)}], {"1": "real", "2": "generated"})
    (folder / "score.json").write_text(json.dumps(score))
    study = {
        "sets": {},
        "primary": {"words": "Verdict: no conclusion."},
        "warnings": ["few photographs"],
        "skipped": [],
    }
    (folder / "study").mkdir()
    (folder / "study" / "study.json").write_text(json.dumps(study))
    return {
        "evaluation": folder / "evaluation" / "metrics.json",
        "audit": folder / "audit" / "audit.json",
        "label_check": folder / "labels" / "label_check.json",
        "readers": folder / "score.json",
        "study": folder / "study" / "study.json",
    }


def test_all_parts_on_one_page_that_loads_nothing(parts: dict[str, Path], tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("epoch,loss,kappa\n1,0.5,\n2,0.25,0.1\n")
    text = report(parts, out=tmp_path / "r.html", training=log).read_text()
    found = Page(text)
    assert all(source.startswith("data:image/png;base64,") for source in found.sources)
    assert "script" not in found.tags
    assert found.tags.count("section") == 7
    for words in (
        "Verdict:",
        "rank-deficient",
        "under 50",
        "12 / 12",
        "pixels <b>",
        "no conclusion",
    ):
        assert words in found.words
    assert "<b>" not in text
    assert len(found.sources) == 8  # 3 of evaluation, 3 of audit, 1 of label check, 1 of training


@pytest.mark.parametrize("name", ["evaluation", "audit", "label_check", "readers", "study"])
def test_each_part_alone(name: str, parts: dict[str, Path], tmp_path: Path) -> None:
    assert Page(report({name: parts[name]}, out=tmp_path / "r.html").read_text()).tags.count("section") == 2


def test_the_audits_rule_and_tests_are_shown(parts: dict[str, Path], tmp_path: Path) -> None:
    words = Page(report({"audit": parts["audit"]}, out=tmp_path / "r.html").read_text()).words
    for shown in ("The rule: Copies found", "near images", "smallest ratio", "mean ratio", "global form"):
        assert shown in words


def test_plots_and_tables_scroll_and_speak(tmp_path: Path) -> None:
    plots = tmp_path / "plots"
    plots.mkdir()
    for name in ("test_confusion", "all_2_differences", "test_figures", "validation"):
        (plots / f"{name}.png").write_bytes(b"png")
    (tmp_path / "study.json").write_text(json.dumps({"sets": {}}))
    text = report({"study": tmp_path / "study.json"}, out=tmp_path / "r.html").read_text()
    assert 'alt="Confusion matrices of each arm and grader on the set test:' in text
    assert 'alt="Differences of kappa between arms on the set all_2,' in text
    assert text.count('class="scroll plot" tabindex="0"') == 1  # the wide one: the others fit a phone
    assert 'class="scroll wide"' in table([str(i) for i in range(12)], [], "Wide")
    assert 'aria-label="Small"' in table(["a"], [[1]], "Small")


def test_a_set_that_all_rows_share_stands_in_the_caption(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    rows = "set,arm,grader,kappa\ntest,none,a,0.5\ntest,none,b,0.6\n"
    (tmp_path / "tables" / "summary.csv").write_text(rows)
    (tmp_path / "study.json").write_text(json.dumps({"sets": {}}))
    text = report({"study": tmp_path / "study.json"}, out=tmp_path / "r.html").read_text()
    assert "<caption>Summary (set test)</caption>" in text
    assert 'data-head="set"' not in text
    assert 'data-head="grader"' in text
    assert "photographs of its data set" not in text  # which are not on a page of a study alone


def test_pictures_outside_the_folder_are_not_embedded(parts: dict[str, Path], tmp_path: Path) -> None:
    content = json.loads(parts["evaluation"].read_text())
    content["pictures"] = {"grades": "../evaluation/grades.png", "best": "/etc/hostname", "worst": "nothing.png"}
    changed = parts["evaluation"].with_name("changed.json")
    changed.write_text(json.dumps(content))
    text = report({"evaluation": changed}, out=tmp_path / "r.html").read_text()
    assert Page(text).sources == []
    assert text.count("missing picture") == 3


def test_wrong_files_are_named(parts: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    with pytest.raises(ValueError, match=r"--audit .*JSON of another command"):
        report({"audit": parts["evaluation"]}, out=out)
    with pytest.raises(ValueError, match=r"--audit .*No such file"):
        report({"audit": tmp_path / "none.json"}, out=out)
    with pytest.raises(ValueError, match="at least one of"):
        report({}, out=out)
    with pytest.raises(ValueError, match="no such file or folder"):
        read_training(tmp_path / "none")
    (tmp_path / "bad.csv").write_text("epoch,loss\n1,low\n")
    with pytest.raises(ValueError, match="column 'loss'"):
        read_training(tmp_path / "bad.csv")
    assert not out.exists()


def test_tensorboard_is_read(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(3):
            writer.add_scalar("loss", 1 / (step + 1), step)
    steps, values = read_training(tmp_path)["loss"]
    assert steps == [0, 1, 2]
    assert values == pytest.approx([1, 1 / 2, 1 / 3])


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=30))
def test_text_cannot_become_markup(text: str) -> None:
    whole = page(text, [section(text, paragraph(text), warnings([text]), table([text], [[text]]), figure(b"", text))])
    plain = page("", [section("", paragraph(""), warnings([""]), table([""], [[""]]), figure(b"", ""))])
    assert Page(whole).tags == Page(plain).tags


def test_command(parts: dict[str, Path], vae_bundle: Path, phantom_list: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["report", "--readers", str(parts["readers"]), "--generator", str(vae_bundle)]
    assert main([*words, "--datalist", str(phantom_list), "--out", str(tmp_path / "r.html")]) == 0
    assert "Samples" in (tmp_path / "r.html").read_text()
    assert main([*words, "--out", "x"]) == 2
    assert "go together" in capsys.readouterr().err
