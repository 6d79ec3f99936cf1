"""The tutorial's commands run as they stand, one after the other; links in the pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fresh_process import bash

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted(path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").glob("**/*.md"))
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


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    for target in re.findall(r"\]\((?![a-z]+:)([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target
