"""Tests that need CUDA: `python -m pytest -m gpu -n 0 tests/gpu`. Without it they skip.

What is measured on the way goes into the file that `MRG_GPU_REPORT` names, as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skip(reason="needs CUDA")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(missing)


@pytest.fixture(scope="session")
def report() -> Iterator[dict[str, Any]]:
    """What is measured, by name."""
    device = torch.cuda.get_device_name(0)
    found: dict[str, Any] = {"device": device, "torch": torch.__version__, "cuda": torch.version.cuda}
    yield found
    if os.environ.get("MRG_GPU_REPORT"):
        Path(os.environ["MRG_GPU_REPORT"]).write_text(json.dumps(found, indent=2), encoding="utf-8")


@pytest.fixture
def exact() -> Iterator[None]:
    """Float32 products in float32: by default convolutions round their inputs to TF32."""
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept
