"""A training that is killed and resumed equals the uninterrupted one, bit for bit."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from fresh_process import python

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.weights import latest_checkpoint

SCRIPT = Path(__file__).with_name("resume_run.py")


def _run(folder: Path, *arguments: str) -> int:
    return python(str(SCRIPT), str(folder), "3", *arguments, cwd=folder.parent).status


def _differences(a: Any, b: Any, where: str = "") -> list[str]:
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [where]
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return [d for k in a for d in _differences(a[k], b[k], f"{where}.{k}")]
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in _differences(x, y, f"{where}.{i}")]
    return [] if a == b else [where]


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _run(whole) == 0
    # 15 iterations in 3 epochs; checkpoints after every second one: killed at the start of a new epoch's second and in
    # the middle of the last, with and without work that is lost
    assert _run(killed, "--die", "7") == -signal.SIGKILL
    assert _run(killed, "--resume", "--die", "14") == -signal.SIGKILL
    latest = Path(latest_checkpoint(killed))
    latest.write_bytes(latest.read_bytes()[: latest.stat().st_size // 2])  # as if cut off while it was written
    assert _run(killed, "--resume") == 0
    ends = [torch.load(folder / "end.pt", weights_only=True) for folder in (whole, killed)]
    assert _differences(*ends) == []
    assert ends[0]["trainer"]["iteration"] == 15


def test_a_truncated_checkpoint_is_refused_and_the_one_before_it_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in (1, 2, 3):
        torch.save({"x": torch.full((1000,), float(i))}, tmp_path / f"state_{i}.pt")
    last = tmp_path / "state_3.pt"
    last.write_bytes(last.read_bytes()[:-500])
    assert latest_checkpoint(tmp_path) == str(tmp_path / "state_2.pt")
    assert "state_3.pt is refused" in caplog.text
    torch.save({"x": torch.tensor([float("nan")])}, tmp_path / "state_4.pt")
    assert latest_checkpoint(tmp_path) == str(tmp_path / "state_4.pt")
    assert latest_checkpoint(tmp_path, finite=True) == str(tmp_path / "state_2.pt")


def test_no_usable_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no state_\*\.pt"):
        latest_checkpoint(tmp_path)
    (tmp_path / "state_1.pt").write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=r"none of state_1\.pt"):
        latest_checkpoint(tmp_path)
