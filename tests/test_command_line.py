"""The command line as a whole: help of every command, a quick start, errors and warnings of one line."""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from monai_retina_gen.__main__ import COMMANDS, GROUPS, main
from monai_retina_gen.apps.command_parser import CommandParser
from monai_retina_gen.data import load_datalist

ALL = [*COMMANDS, *(f"{group} {name}" for group, (commands, *_) in GROUPS.items() for name in commands)]


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        main([*command.split(), "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ALL)
def test_help_has_an_example_that_can_be_copied(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(command, capsys)
    assert "\nexample:" in text
    assert f"monai-retina-gen {command}" in text.split("\nexample:")[1].split("\n\n")[0]


@pytest.mark.parametrize("command", ALL)
def test_every_option_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = help_of(command, capsys).split("\noptions:")[1].splitlines()
    options = [i for i, line in enumerate(lines) if line.startswith("  -")]
    silent = [
        lines[i]
        for i in options
        if len(lines[i].split("  ")) < 3 and not (i + 1 < len(lines) and lines[i + 1].startswith(" " * 10))
    ]
    assert not silent


def test_the_overview_names_all_commands_without_loading_torch() -> None:
    code = (
        "import sys\nfrom monai_retina_gen.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    named = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ") and line[4] != " "]
    assert named == list(COMMANDS)
    assert "\nexample: monai-retina-gen demo\n" in done.stdout


def test_an_unknown_command_is_an_error_that_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["expnd"])
    assert "invalid choice: 'expnd' (choose from" in capsys.readouterr().err


def test_warnings_are_one_line_without_the_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        main(["datalist", "folder", str(tmp_path), "--out", str(tmp_path / "my.json")])
        text = warnings.formatwarning("left out: 1", UserWarning, "folder.py", 3)
    assert text == "warning: left out: 1\n"
    assert capsys.readouterr().err.startswith("error: ")


def test_defaults_are_stated_once() -> None:
    parser = CommandParser(prog="draw")
    parser.add_argument("--count", type=int, default=3, help="how many")
    parser.add_argument("--size", type=int, default=3, help="default: large")
    parser.add_argument("--share", default="5%", help="of all")
    parser.add_argument("--kinds", nargs="+", default=["a", "b"], help="which")
    parser.add_argument("--hidden", default=1, help=argparse.SUPPRESS)
    text = parser.format_help()
    assert "how many (default 3)" in text
    assert "default: large\n" in text
    assert "of all (default 5%)" in text
    assert "which (default a b)" in text
    assert "hidden" not in text


def test_an_error_inside_of_a_transform_is_named_by_its_cause(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantom_folder: Path
) -> None:
    (tmp_path / "t.json").write_text(
        '[{"_target_": "LoadFundusd", "keys": "image"}, {"_target_": "Resized", "keys": "x"}]'
    )
    arguments = ["--transforms", str(tmp_path / "t.json"), "--out", str(tmp_path / "grid.png"), "--count", "1"]
    assert main(["preview", "--datalist", str(phantom_folder / "datalist.json"), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "applying transform" not in said
    assert "Failed to" not in said


def test_the_example_transforms_of_preview_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, phantom_folder: Path, vae_bundle: Path
) -> None:
    from monai_retina_gen.apps.preview import EXAMPLE

    example = "[" + EXAMPLE.split("[", 1)[1]
    (tmp_path / "t.json").write_text(example.replace("retina_vae", str(vae_bundle)).replace("128", "64"))
    arguments = ["--transforms", str(tmp_path / "t.json"), "--out", str(tmp_path / "grid.png"), "--count", "1"]
    assert main(["preview", "--datalist", str(phantom_folder / "datalist.json"), *arguments]) == 0
    assert (tmp_path / "grid.png").stat().st_size > 1000


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there(device: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["expand", "--generator", "g", "--per-grade", "1", "--device", device, "--out", str(tmp_path)])
    assert f"--device: '{device}' cannot be used here: " in capsys.readouterr().err


def test_a_folder_in_place_of_a_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["datalist", str(tmp_path), "--out", "my.json"]) == 2
    assert f"datalist folder {tmp_path} --out my.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "datalist TABLE.csv --columns image=NAME"),
        (["image:file"], "KEY=COLUMN is wanted"),
        (["picture=file"], "no such key"),
        (["image=photo"], "no column 'photo'"),
    ],
)
def test_columns_of_a_table_that_cannot_be_right(
    columns: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("file,DR grade\nx,0\n")
    options = ["--columns", *columns] if columns else []
    assert main(["datalist", str(tmp_path / "t.csv"), *options, "--out", str(tmp_path / "my.json")]) == 2
    assert message in capsys.readouterr().err


def test_columns_of_a_table_by_their_names(tmp_path: Path, phantom_folder: Path) -> None:
    items = load_datalist(phantom_folder / "datalist.json")["training"][:8]
    rows = [f"{Path(item['image']).with_suffix('')},{item['grade']},p{i}" for i, item in enumerate(items)]
    (tmp_path / "t.csv").write_text("\n".join(["file,DR grade,patient", *rows]))
    options = ["--columns", "image=file", "grade=DR grade", "group=patient", "--image-suffix", ".png"]
    assert main(["datalist", str(tmp_path / "t.csv"), *options, "--out", str(tmp_path / "my.json")]) == 0
    loaded = load_datalist(tmp_path / "my.json")
    found = [item for section in ("training", "validation", "test") for item in loaded[section]]
    assert {(item["image"], item["grade"]) for item in found} == {(item["image"], item["grade"]) for item in items}
    assert loaded["patients"] == "known"


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("monai_retina_gen.zoo.packing.find_bundle", lambda name: int("a bug"))
    with pytest.raises(ValueError, match="invalid literal"):
        main(["model", "pin", str(tmp_path)])


def test_files_that_the_system_refuses_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["model", "search-grader", "--datalist", "d", "--out", str(tmp_path)]
    assert main([*words, "--settings", str(tmp_path / "none.json")]) == 2
    assert capsys.readouterr().err.startswith("error: [Errno 2] No such file")
