"""The tutorial's commands run as they stand, one after the other; links in the pages lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fresh_process import bash, python

REPOSITORY = Path(__file__).resolve().parents[1]
FOUND = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("bundles/*/docs/README.md")]
PAGES = sorted(path.relative_to(REPOSITORY).as_posix() for path in FOUND)
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)")
BLOCK = re.compile(r"```(bash|python)\n(.*?)```", flags=re.DOTALL)


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    parts = []
    for language, code in BLOCK.findall((REPOSITORY / "docs/tutorial.md").read_text()):
        parts.append(code if language == "bash" else f"python - <<'PYTHON'\n{code}PYTHON")
    done = bash("\n".join(parts), cwd=tmp_path, MRG_BUNDLES=str(REPOSITORY / "bundles"))
    assert done.status == 0, done.output[-5000:]
    assert "images were generated" in done.output
    assert "<html" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    cells = json.loads((REPOSITORY / "docs/notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    done = python("-c", code, cwd=tmp_path, MRG_BUNDLES=str(REPOSITORY / "bundles"), MPLBACKEND="agg")
    assert done.status == 0, done.output[-5000:]
    assert (tmp_path / "study" / "study.json").is_file()


def test_versions_in_the_pages_are_those_of_the_bundles() -> None:
    text = "\n".join((REPOSITORY / page).read_text(encoding="utf-8") for page in PAGES)
    named = re.findall(r"(retina_\w+?)_v(\d+\.\d+\.\d+)\.zip", text)
    named += re.findall(r"(?:zoo download|--name) (retina_\w+)[^\n]* --version (\d+\.\d+\.\d+)", text)
    assert len(named) >= 4
    for name, version in named:
        metadata = json.loads((REPOSITORY / "bundles" / name / "configs/metadata.json").read_text(encoding="utf-8"))
        assert metadata["version"] == version, f"{name} {version}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    for target, anchor in LINK.findall(path.read_text()):
        found = path.parent / target if target else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text()), f"{target}#{anchor}"


def anchors(text: str) -> set[str]:
    """Of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_a_wrong_anchor_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.md").write_text("# One, two\n\n[here](#one-two) and [there](page.md#three)\n")
    monkeypatch.setitem(globals(), "REPOSITORY", tmp_path)
    with pytest.raises(AssertionError, match="#three"):
        test_links_lead_somewhere("page.md")
