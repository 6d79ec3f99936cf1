"""Commands in two processes: the files of one, errors that end all and are shown once, resuming."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from monai_retina_gen.__main__ import main
from monai_retina_gen.apps import expand as expand_command
from monai_retina_gen.data import SyntheticDataset, load_datalist, phantom_fundus, write_image
from monai_retina_gen.editing.label_gate import GateVerdict
from monai_retina_gen.engines import distributed as sharing
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.evidence.evaluation import generator_evaluation
from monai_retina_gen.evidence.evaluation.extractor import Extractor
from monai_retina_gen.evidence.evaluation.image_sets import ImageSet
from monai_retina_gen.generators import GeneratedBatch, RetinaGenerator, VAEGenerator
from monai_retina_gen.transforms.augment import source as augmentation_source

SCRIPT = str(Path(__file__).with_name("shared_run.py"))
Run = Callable[..., list[tuple[int, str, str]]]


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def same_files(run: Run, out: Path, *arguments: object) -> list[tuple[int, str, str]]:
    """Run alone and in two processes, into the same folder since datalists name it, and compare."""
    assert main([*map(str, arguments), "--out", str(out)]) == 0
    alone = out.rename(out.with_name("alone"))
    ended = run(*arguments, "--out", out)
    assert [status for status, _, _ in ended] == [0, 0], ended
    assert digest(out) == digest(alone)
    assert len(digest(out)) > 5
    return ended


class Red:
    """A gate that refuses by what it sees, so that there are retries and gaps."""

    def check(self, images: Any, grades: Any, originals: Any = None, groups: Any = None) -> GateVerdict:
        red = (images[:, 0].mean((1, 2)) * 1e4).int() % 3
        return GateVerdict(["red" if value == 0 else "" for value in red.tolist()], "Red")


class Echo(RetinaGenerator):
    """Green is the haemorrhages."""

    modes = frozenset({"synthesize"})
    image_size = 56

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity())

    def synthesize(self, masks: Any, grades: Any, *, seeds: Any, **options: Any) -> GeneratedBatch:
        grade = self.check_grades(grades)
        records = [self.record("synthesize", g, s) for g, s in zip(grade.tolist(), seeds, strict=True)]
        return GeneratedBatch(torch.cat([masks["vessel"], masks["he"], masks["fov"]], 1), grade, records, dict(masks))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for i in range(5):
        write_image(tmp_path / "in" / f"{i}.png", phantom_fundus(seed=i, size=80).image)
    return tmp_path / "in"


def test_expand(vae_bundle: Path, tmp_path: Path, in_two_processes: Run) -> None:
    arguments = ["expand", "--generator", vae_bundle, "--per-grade", 4, "--batch-size", 3, "--gate", "none"]
    ended = same_files(in_two_processes, tmp_path / "out", *arguments)
    assert len(SyntheticDataset(tmp_path / "out")) == 20
    assert "20 images asked for" in ended[0][1]
    assert "20 written" in ended[0][1]
    assert "expand with tiny_vae" in ended[0][2]
    assert ended[1][1:] == ("", "")


def test_expand_under_a_gate(
    vae_bundle: Path, tmp_path: Path, in_two_processes: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation_source, "resolve_gate", lambda gate: Red())
    arguments = ["expand", "--generator", vae_bundle, "--per-grade", 20, "--batch-size", 4]
    same_files(in_two_processes, tmp_path / "out", *arguments)
    assert 50 < len(SyntheticDataset(tmp_path / "out")) < 100  # some were refused four times


def test_expand_from_masks(
    phantom_folder: Path, tmp_path: Path, in_two_processes: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = expand_command.build_lesion_bank
    small = {"diameter": 64, "min_area": 1, "threshold": 0.3}
    monkeypatch.setattr(expand_command, "build_lesion_bank", lambda items, **kw: build(items, **small))
    monkeypatch.setattr(expand_command, "load_generator", lambda source, **kw: Echo())
    arguments = ["expand", "--generator", "echo", "--masks", phantom_folder / "datalist.json", "--gate", "none"]
    same_files(in_two_processes, tmp_path / "out", *arguments, "--per-grade", 2, "--batch-size", 3)
    assert (tmp_path / "out" / "lesion_bank.npz").is_file()


def test_a_process_that_fails_ends_all_and_the_command_goes_on(
    vae_bundle: Path, tmp_path: Path, in_two_processes: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["expand", "--generator", vae_bundle, "--per-grade", 4, "--batch-size", 3, "--gate", "none"]
    sample = VAEGenerator.sample

    def failing(self: Any, grades: Any, *, seeds: Any, **options: Any) -> GeneratedBatch:
        if os.environ.get("RANK") == "1" and 3 in grades:
            raise ImageValueError("no image of grade 3")
        return sample(self, grades, seeds=seeds, **options)

    with monkeypatch.context() as patch:
        patch.setattr(VAEGenerator, "sample", failing)
        first, second = in_two_processes(*arguments, "--out", tmp_path / "out")
    assert first[0] == second[0] == 2
    assert "error" not in first[2]  # this one only waited
    assert second[2] == "error: no image of grade 3\n"
    assert list((tmp_path / "out").glob("images/*/*.png"))
    assert not (tmp_path / "out" / "datalist.json").exists()
    next((tmp_path / "out").glob("images/*/*.png")).unlink()
    (tmp_path / "out" / "images" / ".x.png.0.part").write_bytes(b"unfinished")
    shutil.copytree(tmp_path / "out", tmp_path / "begun")
    assert [status for status, _, _ in in_two_processes(*arguments, "--out", tmp_path / "out")] == [0, 0]
    assert main([*map(str, arguments), "--out", str(tmp_path / "begun")]) == 0  # one goes on where two were
    assert main([*map(str, arguments), "--out", str(tmp_path / "whole")]) == 0
    assert digest(tmp_path / "out") == digest(tmp_path / "begun") == digest(tmp_path / "whole")


def test_an_error_of_all_is_shown_once(tmp_path: Path, in_two_processes: Run) -> None:
    arguments = ["expand", "--per-grade", 1, "--gate", "none", "--out", tmp_path / "out", "--generator", "no_such"]
    ended = in_two_processes(*arguments)
    assert [status for status, _, _ in ended] == [2, 2]
    assert sum("was not found" in said for _, _, said in ended) == 1


def test_a_process_that_is_killed_is_named(
    vae_bundle: Path, tmp_path: Path, in_two_processes: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = VAEGenerator.sample

    def dying(self: Any, grades: Any, **options: Any) -> GeneratedBatch:
        if os.environ.get("RANK") == "1":
            os._exit(9)
        return sample(self, grades, **options)

    monkeypatch.setattr(VAEGenerator, "sample", dying)
    arguments = ["expand", "--per-grade", 1, "--gate", "none", "--out", tmp_path / "out", "--generator", vae_bundle]
    first, second = in_two_processes(*arguments, "--batch-size", 1)
    assert (first[0], second[0]) == (2, 9)
    assert "error: another process of this command has ended" in first[2]


@pytest.mark.parametrize("more", [["--overlays"], ["--soft", "--format", "nifti", "--no-flips"]])
def test_segment(
    more: list[str], tiny_segmenter: Path, photographs: Path, tmp_path: Path, in_two_processes: Run
) -> None:
    arguments = ["segment", "--images", photographs, "--segmenter", tiny_segmenter]
    _, second = same_files(in_two_processes, tmp_path / "out", *arguments, *more)
    assert second[1:] == ("", "")
    assert len(load_datalist(tmp_path / "out" / "datalist.json")["test"]) == 5
    shutil.rmtree(tmp_path / "out" / "masks" / "od")  # goes on, with less to do for both
    (tmp_path / "out" / "datalist.json").unlink()
    assert in_two_processes(*arguments, *more, "--out", tmp_path / "out")[0][0] == 0
    assert digest(tmp_path / "out") == digest(tmp_path / "alone")


def test_evaluate(
    vae_bundle: Path, phantom_list: Path, tmp_path: Path, in_two_processes: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = Extractor(torch.nn.Flatten(), name="tiny", sha256="", input_size=4)
    monkeypatch.setattr(generator_evaluation, "load_extractor", lambda *args, **kw: tiny)
    monkeypatch.setattr(generator_evaluation, "sliced_wasserstein_figure", _quick_figure)
    bundle = shutil.copytree(vae_bundle, tmp_path / "tiny_vae")
    arguments = ["evaluate", "--generator", bundle, "--datalist", phantom_list, "--write-metadata", bundle]
    arguments += ["--count", 37, "--pairs", 1]  # three batches of samples, two of features
    assert main([*map(str, arguments), "--out", str(tmp_path / "alone")]) == 0
    metadata = digest(bundle)
    first, second = in_two_processes(*arguments, "--out", tmp_path / "out")
    assert (first[0], second[0]) == (0, 0), second
    assert "fid:" in first[1]
    assert second[1:] == ("", "")
    assert digest(tmp_path / "out") == digest(tmp_path / "alone")
    assert digest(bundle) == metadata


def _quick_figure(real: ImageSet, generated: ImageSet, *, seed: int) -> dict[str, Any]:
    return {"value": float((real.floats().mean() - generated.floats().mean()).abs()), "n_real": len(real)}


@pytest.mark.slow
def test_torchrun(vae_bundle: Path, tiny_segmenter: Path, photographs: Path, tmp_path: Path) -> None:
    """Two commands one after the other; the second fails in one process while the other waits for it."""
    arguments = ["expand", "--generator", vae_bundle, "--per-grade", 2, "--batch-size", 3, "--gate", "none", "--out"]
    broken = ["segment", "--images", photographs, "--segmenter", tiny_segmenter, "--out", tmp_path / "masks"]
    (photographs / "3.png").write_bytes(b"no image")
    commands = [[*map(str, arguments), str(tmp_path / "two")], list(map(str, broken))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", SCRIPT]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, json.dumps(commands)], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 1
    assert done.stdout.count("images asked for") == 1
    assert main([*map(str, arguments), str(tmp_path / "one")]) == 0
    assert digest(tmp_path / "two") == digest(tmp_path / "one")
    (error,) = (line for line in done.stderr.splitlines() if "3.png" in line)
    assert "error: " in error
    assert not (tmp_path / "masks" / "datalist.json").exists()


def test_alone_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "init_process_group", lambda *a, **kw: pytest.fail("was begun"))
    run = sharing.in_all_processes(lambda args: len(sharing.shared_map(lambda row: row, range(5), disable=True)))
    assert run(argparse.Namespace(device="cuda")) == 5
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one process")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert run(argparse.Namespace(device="cuda")) == 5


def test_a_callers_own_group_is_left_alone(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        run = sharing.in_all_processes(lambda args: sharing.by_first(lambda: 3))
        assert run(argparse.Namespace(device="cpu")) == 3
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert sharing._own_device("cuda") == "cuda:1"
    assert sharing._own_device("cuda:0") == "cuda:0"
    assert sharing._own_device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="process 2 has no GPU, of 2"):
        sharing._own_device("cuda")
