"""expand: counts, records, killed and started again, refused settings; preview; pin; the command line's errors."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import load_decathlon_datalist

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import SyntheticDataset, load_datalist, read_text, save_datalist
from monai_retina_gen.data.image_io import read_image
from monai_retina_gen.data.record import GenerationRecord
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.errors import DatalistError, ImageValueError, WeightsError
from monai_retina_gen.generators import VAEGenerator, load_generator, regenerate
from monai_retina_gen.networks import FundusVAE
from monai_retina_gen.transforms.expansion.counts import balancing_counts
from monai_retina_gen.transforms.expansion.folder import expand
from monai_retina_gen.transforms.preview import preview, read_transforms
from monai_retina_gen.weights import CHECKPOINT
from monai_retina_gen.zoo.packing import pin


def _digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_counts_files_and_records(vae_bundle: Path, tmp_path: Path) -> None:
    folder = expand(str(vae_bundle), {0: 0, 1: 3, 4: 5}, tmp_path / "bank", batch_size=4, gate=None, progress=False)
    dataset = SyntheticDataset(folder)
    assert [item["grade"] for item in dataset] == [1] * 3 + [4] * 5
    record = GenerationRecord.from_json(dataset[5]["generated"])
    again = regenerate(record, bundle=vae_bundle).image[0]
    assert (torch.as_tensor(read_image(dataset[5]["image"])) - again).abs().max() <= 1.01 / 255
    text = read_text(dataset[0]["image"])
    assert GenerationRecord.from_json(text["generated"]).grade == 1
    assert "trainedAlgorithmicMedia" in str(text)
    own = load_datalist(folder / "datalist.json")["training"]
    monai = load_decathlon_datalist(str(folder / "datalist.json"), False, "training", str(folder))
    assert [item["image"] for item in own] == [os.path.realpath(item["image"]) for item in monai]


def test_balancing_counts_fill_up() -> None:
    counts = {0: 114, 1: 15, 2: 107, 3: 57, 4: 39}
    assert {g: n + counts[g] for g, n in balancing_counts(counts).items()} == dict.fromkeys(range(5), 114)


def test_a_grade_that_the_data_lack_stays_without() -> None:
    assert balancing_counts({0: 6, 1: 0, 2: 2, 3: 0, 4: 6}) == {0: 0, 1: 0, 2: 4, 3: 0, 4: 0}


class Curated(VAEGenerator):
    """A generator whose curation kept nothing of grade 1."""

    @property
    def missing_grades(self) -> frozenset[int]:
        return frozenset({1})


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ({3: -1}, {}, "counts: images of grade 3: -1 came"),
        ({3: 1.5}, {}, "counts: images of grade 3: 1.5 came"),
        ({2.5: 1}, {}, "counts: 2.5 came"),
        ({3: 0}, {}, "nothing to make"),
        ({}, {}, "nothing to make"),
        ({7: 1}, {}, r"\[7\] are outside 0-4"),
        ({1: 3, 2: 4}, {}, r"no images of the grades \[1\].*--counts 2:4"),
        ({3: 1}, {"batch_size": 0}, "batch_size: 0 came"),
        ({3: 1}, {"batch_size": 2.5}, "batch_size: 2.5 came"),
        ({3: 1}, {"seed": -1}, "seed: -1 came"),
        ({2: 1}, {"label_grades": {0: 0, 1: {2: 3, 4: 1}}}, "no label 2"),
        ({1: 1}, {"label_grades": [0, 1]}, "label_grades"),
    ],
)
def test_what_cannot_be_made_is_refused_before_a_folder_is_begun(
    counts: dict[Any, Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    network = FundusVAE(image_size=64, latent_dim=4, channels=(8, 8, 8, 8))
    with pytest.raises(ValueError, match=message):
        expand(Curated(network), counts, tmp_path / "bank", gate=None, progress=False, **options)
    assert not (tmp_path / "bank").exists()


def test_images_of_a_label_have_its_grades_and_carry_it(vae_bundle: Path, tmp_path: Path) -> None:
    referable = {"0": 0, "1": {"2": 6, "3": 2, "4": 1}}
    options = {"gate": None, "progress": False, "label_grades": referable, "label_key": "referable"}
    folder = expand(str(vae_bundle), {0: 2, 1: 9}, tmp_path / "bank", **options)
    items = load_datalist(folder / "datalist.json", label_key="referable")["training"]
    found = [(item["referable"], item["icdr_grade"]) for item in items]
    assert found == [(0, 0)] * 2 + [(1, 2)] * 6 + [(1, 3)] * 2 + [(1, 4)]
    assert "grade" not in items[0]
    assert [item["grade"] for item in SyntheticDataset(folder)] == [grade for _, grade in found]


def _balance(datalist: dict[str, Any], bundle: Path, folder: Path, *more: str) -> tuple[int, list[tuple[int, int]]]:
    save_datalist({**datalist, "validation": [], "test": []}, folder / "own.json")
    arguments = ["--datalist", str(folder / "own.json"), "--generator", str(bundle), "--out", str(folder / "bank")]
    code = main(["expand", *arguments, "--balance", "--gate", "none", *more])
    items = load_datalist(folder / "bank" / "datalist.json")["training"] if code == 0 else []
    return code, [(item["grade"], item.get("icdr_grade", item["grade"])) for item in items]


def test_balance_by_labels(
    phantom_folder: Path, vae_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datalist = load_datalist(phantom_folder / "datalist.json")
    kept = {0: 4, 1: 2, 3: 2, 4: 1}
    datalist["training"] = [
        item for grade, n in kept.items() for item in [i for i in datalist["training"] if i["grade"] == grade][:n]
    ]
    (tmp_path / "map").mkdir(), (tmp_path / "labels").mkdir()
    code, mapped = _balance(datalist, vae_bundle, tmp_path / "map", "--grade-map", "referable")
    assert (code, mapped) == (0, [(1, 3)] * 2 + [(1, 4)])  # 6 against 3, divided 2 : 1
    binary = {**datalist, "training": [{**item, "grade": int(item["grade"] > 1)} for item in datalist["training"]]}
    code, _ = _balance(binary, vae_bundle, tmp_path / "labels")
    assert code == 2
    assert "only the labels [0, 1] occur" in capsys.readouterr().err
    assert not (tmp_path / "labels" / "bank").exists()
    stands_for = '{"0": {"0": 3, "1": 1}, "1": {"2": 0, "3": 2, "4": 1}}'
    assert _balance(binary, vae_bundle, tmp_path / "labels", "--label-grades", stands_for) == (0, mapped)


def test_balance_makes_no_grade_that_the_data_lack(
    phantom_folder: Path, vae_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datalist = load_datalist(phantom_folder / "datalist.json")
    for name, grades in (("one", [0, 0]), ("two", [0, 0, 0, 4, 4])):
        (tmp_path / name).mkdir()
        of = {grade: iter([i for i in datalist["training"] if i["grade"] == grade]) for grade in set(grades)}
        found = _balance({**datalist, "training": [next(of[g]) for g in grades]}, vae_bundle, tmp_path / name)
        assert found == ((2, []) if name == "one" else (0, [(4, 4)]))
    assert "nothing to fill up" in capsys.readouterr().err


def test_killed_and_started_again_gives_the_same_bytes(vae_bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "monai_retina_gen", "expand", "--generator", str(vae_bundle)]
    command += ["--per-grade", "60", "--batch-size", "4", "--gate", "none"]
    command += ["--out", str(tmp_path / "killed")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while len(list((tmp_path / "killed").glob("images/*/*.png"))) < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    begun = len(list((tmp_path / "killed").glob("images/*/*.png")))
    assert 10 <= begun < 300  # it was killed in the middle
    next((tmp_path / "killed").glob("images/*/*.png")).unlink()  # and a file was lost
    expand(str(vae_bundle), dict.fromkeys(range(5), 60), tmp_path / "killed", batch_size=4, gate=None, progress=False)
    expand(str(vae_bundle), dict.fromkeys(range(5), 60), tmp_path / "whole", batch_size=4, gate=None, progress=False)
    assert _digest(tmp_path / "killed") == _digest(tmp_path / "whole")


def test_other_settings_are_refused(vae_bundle: Path, tmp_path: Path) -> None:
    expand(str(vae_bundle), {1: 1}, tmp_path, gate=None, progress=False)
    with pytest.raises(ValueError, match="begun with other settings"):
        expand(str(vae_bundle), {1: 1}, tmp_path, seed=1, gate=None, progress=False)


def test_a_folder_with_other_files_is_refused(vae_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photograph.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"mine holds photograph.png, and no expand.json"):
        expand(str(vae_bundle), {3: 2}, tmp_path / "mine", gate=None, progress=False)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["photograph.png"]


def test_the_command_refuses_a_folder_with_other_files(
    vae_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    command = ["expand", "--generator", str(vae_bundle), "--counts", "3:1", "--gate", "none", "--out", str(tmp_path)]
    assert main(command) != 0
    assert "holds notes.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_changed_file_is_refused(vae_bundle: Path, tmp_path: Path) -> None:
    folder = expand(str(vae_bundle), {1: 1}, tmp_path, gate=None, progress=False)
    picture = next(folder.glob("images/*/*.png"))
    picture.write_bytes(picture.read_bytes() + b"x")
    with pytest.raises(DatalistError, match="was changed"):
        SyntheticDataset(folder)
    picture.unlink()
    with pytest.raises(DatalistError, match="not on disk"):
        SyntheticDataset(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["images"][0]["image"] = "../../etc/passwd"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DatalistError, match="outside its folder"):
        SyntheticDataset(folder)


def test_gate_leaves_refused_images_out(vae_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Never:
        def check(self, images: Any, grades: Any, originals: Any = None, groups: Any = None) -> GateVerdict:
            return GateVerdict(["no" if g == 3 else "" for g in grades], "Never")

    folder = expand(load_generator(vae_bundle), {2: 2, 3: 2}, tmp_path, gate=Never(), progress=False)
    dataset = SyntheticDataset(folder)
    assert [item["grade"] for item in dataset] == [2, 2]
    assert GenerationRecord.from_json(dataset[0]["generated"]).label == "verified by Never"
    assert "2 of 2 of grade 3" in caplog.text
    assert "grade 2" not in caplog.text


def test_preview_shows_before_and_after(phantom_folder: Path, vae_bundle: Path, tmp_path: Path) -> None:
    steps = [
        {"_target_": "LoadFundusd", "keys": "image"},
        {"_target_": "RandFlipd", "keys": "image", "prob": 1.0},
        {"_target_": "GenerativeAugmentd", "keys": "image", "generator": str(vae_bundle), "prob": {"4": 1.0}},
    ]
    (tmp_path / "my.json").write_text(json.dumps(steps))
    arguments = ["--datalist", str(phantom_folder / "datalist.json"), "--transforms", str(tmp_path / "my.json")]
    assert main(["preview", *arguments, "--out", str(tmp_path / "grid.png"), "--count", "2", "--size", "64"]) == 0
    assert tuple(read_image(tmp_path / "grid.png").shape) == (3, 2 * 64, 4 * 64)
    items = load_datalist(phantom_folder / "datalist.json")["training"][:1]
    (tmp_path / "bad.json").write_text(json.dumps([*steps[:1], {"_target_": "NormalizeIntensityd", "keys": "image"}]))
    with pytest.raises(ImageValueError, match="leave out the normalisation"):
        preview(items, read_transforms(str(tmp_path / "bad.json")), size=32)
    with pytest.raises(ValueError, match="--transforms"):
        read_transforms(str(tmp_path / "absent.json"))


def test_pin_installs_half_precision_and_refuses_foreign_weights(vae_bundle: Path, tmp_path: Path) -> None:
    import shutil

    bundle = tmp_path / "tiny_vae"
    shutil.copytree(vae_bundle, bundle)
    network = load_generator(bundle).network
    torch.save({k: v + 0.5 if k == "stem.bias" else v for k, v in network.state_dict().items()}, tmp_path / "new.pt")
    pin(bundle, tmp_path / "new.pt")
    assert load_generator(bundle).weights_sha256 != load_generator(vae_bundle).weights_sha256
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "foreign.pt")
    before = _digest(bundle)
    with pytest.raises(WeightsError, match="does not fit"):
        pin(bundle, tmp_path / "foreign.pt")
    assert _digest(bundle) == before  # nothing was lost
    assert (bundle / CHECKPOINT).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["expand", "--generator", "no_such", "--per-grade", "1", "--out", "x"], "was not found"),
        (["expand", "--generator", "BUNDLE", "--counts", "a:b", "--out", "x"], "GRADE:NUMBER"),
        (["expand", "--generator", "BUNDLE", "--counts", "2:1", "2:3", "--out", "x"], "named twice"),
        (["expand", "--generator", "BUNDLE", "--counts", "3:-1", "--out", "x"], "whole number from 0"),
        (["expand", "--generator", "BUNDLE", "--balance", "--out", "x"], "needs --datalist"),
        (["datalist", "folder", "no_such_folder", "--out", "x.json"], "no_such_folder"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, vae_bundle: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    filled = [str(vae_bundle) if a == "BUNDLE" else str(tmp_path / a) if a.startswith("x") else a for a in arguments]
    assert main(filled) == 2
    assert message in capsys.readouterr().err
