"""The command `zoo`: build, list, download and verify, with one-line errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from monai_retina_gen.__main__ import main


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MRG_ZOO", "MRG_BUNDLES", "MRG_OFFLINE", "MRG_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MRG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bundles(bundles_dir: Path, tmp_path: Path) -> Path:
    """A folder with one shipped bundle."""
    ignored = shutil.ignore_patterns("training", "output")
    shutil.copytree(bundles_dir / "retina_wgan_gp", tmp_path / "bundles" / "retina_wgan_gp", ignore=ignored)
    return tmp_path / "bundles"


def test_from_building_to_an_installed_bundle(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["zoo", "build", "--out", "zoo"]) == 0
    assert "retina_wgan_gp_v0.1.0.zip: 1.7 MB" in capsys.readouterr().out
    figures = json.loads((bundles / "retina_wgan_gp/configs/metadata.json").read_text(encoding="utf-8"))["eval_metrics"]
    shutil.rmtree(bundles)
    assert main(["zoo", "list", "--from", "zoo"]) == 0
    listed = capsys.readouterr().out
    for part in (
        "retina_wgan_gp 0.1.0",
        "modes sample",
        f"fid {figures['fid']:.3g} (photographs {figures['fid_floor']:.3g})",
        "on 58 test photographs",
        "Weights and code: Apache-2.0",
    ):
        assert part in listed
    monkeypatch.setenv("MRG_ZOO", str(tmp_path / "zoo"))
    assert main(["zoo", "download", "retina_wgan_gp"]) == 0
    assert (tmp_path / "cache" / "retina_wgan_gp" / "models" / "model.pt").is_file()
    assert main(["zoo", "verify", "retina_wgan_gp", "--fast"]) == 0
    assert "all checks passed" in capsys.readouterr().out


def test_bundles_of_another_folder_are_built_by_environment(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("MRG_BUNDLES", str(tmp_path / "elsewhere"))
    assert main(["zoo", "build", "--out", "zoo"]) == 0
    assert (tmp_path / "zoo" / "retina_wgan_gp_v0.1.0.zip").is_file()


def test_a_bundle_that_fails_sets_the_exit_status(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundles / "retina_wgan_gp" / "LICENSE").unlink()
    assert main(["zoo", "verify", "--fast", "--figures"]) == 1
    said = capsys.readouterr().out
    assert "FAILED LICENSE is missing" in said
    assert "figures skipped: no photographs" in said
    assert "checks failed" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list"], "no model zoo is known"),
        (["list", "--from", "nowhere"], "is no model zoo"),
        (["list", "--from", "http://example.org"], "want an https:// address"),
        (["download", "x", "--from", "nowhere"], "zoo build"),
        (["build", "--bundles", "nowhere", "--out", "zoo"], "holds no bundle"),
        (["verify", "retina_none"], "was not found"),
        (["verify", "--fast"], "zoo verify FOLDER/retina_vae"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said


@pytest.mark.parametrize("action", ["build", "list", "download", "verify"])
def test_help_has_an_example(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["zoo", action, "--help"])
    assert f"example: monai-retina-gen zoo {action}" in " ".join(capsys.readouterr().out.split())
