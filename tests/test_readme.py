"""The examples of README and docs run as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_process import python

from monai_retina_gen.data import load_datalist, save_datalist, write_phantoms

REPOSITORY = Path(__file__).resolve().parents[1]
APART = ("tutorial.md", "study.md", "inversion.md")  # has a test of its own; need one's own data and a trained encoder
PAGES = [
    path.relative_to(REPOSITORY).as_posix()
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("**/*.md")))
    if "```python" in path.read_text(encoding="utf-8") and path.name not in APART
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), flags=re.DOTALL)
    assert blocks
    done = python("-c", "\n".join(blocks), cwd=tmp_path, MRG_BUNDLES=str(REPOSITORY / "bundles"))
    assert done.status == 0, done.output[-3000:]


@pytest.mark.slow
def test_the_bundle_door_runs_in_the_folder_of_the_bundles(tmp_path: Path) -> None:
    (command,) = re.findall(r"`(python -m monai\.bundle run [^`]*)`", (REPOSITORY / "README.md").read_text())
    shutil.copytree(REPOSITORY / "bundles" / "retina_vae", tmp_path / "bundles" / "retina_vae")
    write_phantoms(tmp_path / "photographs", count=20, size=128, grades=[0, 1, 2, 3, 4], masks=False)
    save_datalist(load_datalist(tmp_path / "photographs" / "datalist.json"), tmp_path / "my.json")
    words = command.replace("python", sys.executable, 1).split()
    short = ["--max_epochs", "1", "--batch_size", "4", "--device", "cpu"]
    done = subprocess.run([*words, *short], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "bundles/retina_vae/output/model.pt").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
