"""Two processes under torchrun with gloo train as one process with the joined batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = str(Path(__file__).with_name("distributed_run.py"))


@pytest.mark.slow
def test_two_processes_equal_one_with_the_joined_batch(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("RANK", None)
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", SCRIPT]
    for command, out, batch in ((together, "two", "2"), ([sys.executable, SCRIPT], "one", "4")):
        done = subprocess.run(
            [*command, str(tmp_path / out), batch], capture_output=True, text=True, timeout=300, env=environment
        )
        assert done.returncode == 0, done.stderr[-3000:]
    one, first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("one", "two0", "two1"))
    assert one["trainer"]["images_seen"] == first["trainer"]["images_seen"] == 24
    for network in ("generator", "discriminator"):
        for name, value in one[network].items():
            # Adam divides by the gradients' size: equal weights after six steps mean equal gradients in all of them
            torch.testing.assert_close(first[network][name], value, rtol=1e-4, atol=1e-5)
            assert torch.equal(first[network][name], second[network][name])
