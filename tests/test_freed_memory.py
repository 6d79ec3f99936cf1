"""`keep_freed_memory`: tensors of the same size, one after the other, ask the kernel for no more pages."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from fresh_process import python

from monai_retina_gen import freed_memory, keep_freed_memory

FAULTS = """
import json, resource, torch
from monai_retina_gen import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16, 1024, 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps([faults(), keep_freed_memory(), faults(), faults()]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told")
def test_freed_memory_is_used_again(tmp_path: Path) -> None:
    done = python("-c", FAULTS, cwd=tmp_path, MALLOC_MMAP_THRESHOLD_="131072")
    before, took_effect, _, after = json.loads(done.output)
    assert took_effect
    assert after < before / 20  # the second time: the first one still brings the memory


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory.sys, "platform", "win32")
    assert not keep_freed_memory()
