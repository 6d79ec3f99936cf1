"""The examples of README and docs run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    "docs/transform.md",
    "docs/gate.md",
    "docs/editor.md",
    "docs/data.md",
    "docs/engine.md",
    "docs/curation.md",
    "docs/selection_rate.md",
    "docs/masks.md",
    "docs/drgan.md",
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), flags=re.DOTALL)
    assert blocks
    environment = {**os.environ, "MRG_BUNDLES": str(REPOSITORY / "bundles"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "\n".join(blocks)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
