"""Miniature graders, segmenters and phantoms, and commands in two processes: fixtures of `evidence` and `apps`."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from monai_retina_gen.__main__ import main
from monai_retina_gen.data import write_phantoms
from monai_retina_gen.networks import FundusGrader, LesionSegmenter
from monai_retina_gen.weights import CHECKPOINT, save_state, sha256_file


@pytest.fixture(scope="session")
def grader_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature bundle of an untrained grader at 48 px."""
    bundle = tmp_path_factory.mktemp("graders") / "tiny_grader"
    (bundle / "configs").mkdir(parents=True)
    torch.manual_seed(0)
    save_state(FundusGrader(backbone="resnet18").state_dict(), bundle / CHECKPOINT, half=True)
    network = {"_target_": "monai_retina_gen.networks.FundusGrader", "backbone": "resnet18"}
    inference = {"network_def": network, "image_size": 48}
    (bundle / "configs" / "inference.json").write_text(json.dumps(inference))
    return bundle


@pytest.fixture(scope="session")
def tiny_segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature bundle of an untrained segmenter at 64 px."""
    folder = tmp_path_factory.mktemp("segmenters") / "tiny_segmenter"
    (folder / "configs").mkdir(parents=True)
    torch.manual_seed(0)
    save_state(LesionSegmenter(structures=["ex", "od"], channels=(4, 8, 8)).state_dict(), folder / CHECKPOINT)
    network = {"_target_": "monai_retina_gen.networks.LesionSegmenter", "structures": "@structures"}
    network_def = network | {"channels": [4, 8, 8]}
    config = {"structures": ["ex", "od"], "image_size": 64, "thresholds": {"ex": 0.3}, "network_def": network_def}
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    pin = {"version": "0.0.1", "weights": {CHECKPOINT: {"sha256": sha256_file(folder / CHECKPOINT)}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(pin))
    return folder


@pytest.fixture(scope="session")
def phantom_list(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datalist of 40 phantoms of 80 px (a crop of 64 fits), grades in turn, 20 / 12 / 8."""
    folder = tmp_path_factory.mktemp("evidence")
    return write_phantoms(folder, count=40, size=80, seed=5, masks=False, splits=(0.5, 0.3, 0.2), grades=range(5))


Ended = list[tuple[int, str, str]]
"""Exit status, standard output and standard error of each process."""


@pytest.fixture
def in_two_processes(tmp_path: Path) -> Callable[..., Ended]:
    """Runs a command in two processes that `torchrun` might have started, but forks them: they import nothing anew."""
    if not dist.is_available() or "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs torch.distributed and fork")

    def run(*arguments: object) -> Ended:
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # the launcher's part
        context = multiprocessing.get_context("fork")
        options = [(rank, store.port, tmp_path, [str(a) for a in arguments]) for rank in range(2)]
        processes = [context.Process(target=_process_of_two, args=each, daemon=True) for each in options]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=60)
        assert not any(process.is_alive() for process in processes), "a process waits for ever"
        said = [[(tmp_path / f".{name}{rank}").read_text() for name in ("out", "err")] for rank in range(2)]
        return [(int(process.exitcode or 0), *texts) for process, texts in zip(processes, said, strict=True)]

    return run


def _process_of_two(rank: int, port: int, folder: Path, arguments: list[str]) -> None:
    given = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    given |= {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": True}
    os.environ.update({name: str(value) for name, value in given.items()})
    torch.set_num_threads(1)  # thread pools do not survive a fork
    with (
        open(folder / f".out{rank}", "w", encoding="utf-8") as sys.stdout,
        open(folder / f".err{rank}", "w", encoding="utf-8") as sys.stderr,
    ):
        status = main(arguments)
    sys.exit(status)
