"""The Triton kernel of the filtered leaky ReLU against the products of matrices: values and gradients, on a GPU.

In a process of its own: an error of the GPU itself ends what a process can do with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "networks" / "test_filtered_leaky_relu_triton.py"


def test_kernel_equals_products_of_matrices(report: dict[str, Any]) -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "MRG_TRITON": "1"}
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    report["triton kernel against products, relative errors"] = found
    assert found["log"] == []
    assert all(found["verdicts"])
    assert found["calls"] > len(found["verdicts"]) > 0
    for dtype, limit in (("torch.float32", 1e-4), ("torch.bfloat16", 3e-2)):
        for name, values in found["errors"][dtype].items():
            assert max(values) < limit, (dtype, name, values)
