"""Pages quote the figures that the JSON files hold; a page or a file that is changed alone is found."""

from __future__ import annotations

import doctest
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script, studies = _script("write_figures"), _script("study_figures")
PAGES = [path for path in script.pages() if "<!-- figures:" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_page_quotes_what_the_files_hold(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert script.filled(text, script.figures_of(page)) == text, "run python docs/write_figures.py"


@pytest.mark.parametrize("key", studies.STUDIES)
def test_figures_of_a_study_are_those_of_its_trainings(key: str) -> None:
    held = json.loads((REPOSITORY / "docs" / "figures.json").read_text(encoding="utf-8"))["study"][key]
    assert studies.study_figures(key) == held, "run python docs/study_figures.py"


def test_readme_and_the_cards_of_all_generators_quote() -> None:
    quoting = {path.relative_to(REPOSITORY).as_posix() for path in PAGES}
    cards = {f"bundles/retina_{name}/docs/README.md" for name in ("vae", "wgan", "wgan_gp", "stylegan3", "drgan")}
    assert {"README.md", "docs/idrid.md", "bundles/retina_grader/docs/README.md", *cards} <= quoting


def test_a_changed_figure_changes_the_page() -> None:
    page = "accuracy <!-- figures: {retina_grader.accuracy:.2f} -->0.62<!-- end -->\n"
    values = script.figures_of(REPOSITORY / "README.md")
    assert script.filled(page, values) == page
    values["retina_grader"].accuracy = 0.5
    assert "0.50" in script.filled(page, values)


def test_tables_and_a_cards_own_figures() -> None:
    card = REPOSITORY / "bundles" / "retina_grader" / "docs" / "README.md"
    page = "<!-- figures:\n| n | {n} |\n| again | {retina_grader.n} |\n-->old<!-- end -->"
    assert "-->\n| n | 116 |\n| again | 116 |\n<!-- end -->" in script.filled(page, script.figures_of(card))


@pytest.mark.parametrize("page", ["<!-- figures: {n} -->1", "<!-- figures: {n} -->1<!-- figures: {n} --><!-- end -->"])
def test_a_quotation_without_end_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="no <!-- end -->"):
        script.filled(page, {"n": 1})


def test_a_figure_that_nobody_measured_is_refused() -> None:
    with pytest.raises(AttributeError, match="fidelity"):
        script.filled("<!-- figures: {a.fidelity} -->1<!-- end -->", {"a": script.SimpleNamespace(fid=1)})


def test_a_result_is_taken_under_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "FIGURES", tmp_path / "figures.json")
    (tmp_path / "figures.json").write_text('{"audit": {"other": {"n": 1}}}')
    result = {"p": 0.123456, "near": 3, "pairs": [{"ratio": 0.5}], "rule": "x" * 99}
    (tmp_path / "audit.json").write_text(json.dumps(result))
    script.take("audit.retina_vae", tmp_path / "audit.json")
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found == {"audit": {"other": {"n": 1}, "retina_vae": {"near": 3, "p": 0.1235}}}


def test_examples_of_the_script_run() -> None:
    assert doctest.testmod(script).failed == 0


def test_rows_of_a_table_from_a_list_of_keys() -> None:
    arms = {"none": {"kappa": 0.634, "low": 0.5, "high": 0.77}, "best": {"kappa": 0.7, "n": 3}}
    values = {"study": script.SimpleNamespace(**{key: script.SimpleNamespace(**arm) for key, arm in arms.items()})}
    table = (
        "<!-- figures:\n| arm |\nrows of study for none; best = the best: | {title} | {kappa:.2f} |\n-->old<!-- end -->"
    )
    assert "-->\n| arm |\n| `none` | 0.63 |\n| the best | 0.70 |\n<!-- end -->" in script.filled(table, values)


def test_intervals_stand_beside_their_figure() -> None:
    arm = script.SimpleNamespace(kappa=0.634, low=0.5, high=0.77, auc=1, auc_low=0.9, auc_high=1.1)
    values = {"arm": arm, **vars(arm)}
    assert script.written("{arm.kappa:.2f ci}, {auc:.1f ci}, {kappa:+.1f ci}", values) == (
        "0.63 [0.50, 0.77], 1.0 [0.9, 1.1], +0.6 [+0.5, +0.8]"
    )
    assert script.written("|{arm.lost:.2f ci?}|", values) == "||"
    with pytest.raises(AttributeError, match="lost"):
        script.written("{arm.lost:.2f ci}", values)


def test_cards_share_a_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "TEMPLATES", tmp_path)
    (tmp_path / "quality.txt").write_text("| FID | {fid:.1f} |\n| n | {n} |\n")
    assert (
        script.written("first\ninclude quality\nlast", {"fid": 1.25, "n": 3}) == "first\n| FID | 1.2 |\n| n | 3 |\nlast"
    )
