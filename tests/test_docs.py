"""The tutorial's commands run as they stand, one after the other; links in the pages lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted(path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").glob("**/*.md"))
BLOCK = re.compile(r"```(bash|python)\n(.*?)```", flags=re.DOTALL)


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    parts = ["set -euo pipefail"]
    for language, code in BLOCK.findall((REPOSITORY / "docs/tutorial.md").read_text()):
        parts.append(code if language == "bash" else f"python - <<'PYTHON'\n{code}PYTHON")
    environment = {
        **os.environ,
        "MRG_BUNDLES": str(REPOSITORY / "bundles"),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(parts)], cwd=tmp_path, capture_output=True, text=True, timeout=900, env=environment
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "images were generated" in done.stdout
    assert "<html" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    for target in re.findall(r"\]\((?![a-z]+:)([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target
