"""The Triton kernel against the products of matrices, in Triton's interpreter; and that it compiles for GPUs.

Both need settings made before Triton is imported: this file runs itself as a script in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from monai_retina_gen.networks import (
    FilteredLeakyReLU,
    filtered_leaky_relu_selection,
    filtered_leaky_relu_triton,
)
from monai_retina_gen.networks.filtered_leaky_relu_triton import fused_filtered_leaky_relu, window_sizes
from monai_retina_gen.networks.stylegan3_schedule import design_lowpass

needs_triton = pytest.mark.skipif(filtered_leaky_relu_triton.triton is None, reason="Triton is not installed")

# Input size, upsampling, padding, clamp: StyleGAN3-T's three kinds of layer, with tiles that are full and cut.
CASES = {
    "same size": (20, 2, (9, 8), 1.5),
    "up by 4, cropped": (17, 4, (-6, -9), 1.5),
    "last layer, cropped": (32, 2, (-11, -12), None),
}


def layer(size: int, factor: int, padding: tuple[int, int], clamp: float | None) -> FilteredLeakyReLU:
    filters = [design_lowpass(taps=6 * f, cutoff=2.0, width=12.0, sampling_rate=16.0 * f) for f in (factor, 2)]
    return FilteredLeakyReLU(
        input_size=size, up_filter=filters[0], down_filter=filters[1], up=factor, padding=padding, clamp=clamp
    )


def results(act: FilteredLeakyReLU, dtype: torch.dtype, device: str) -> list[torch.Tensor]:
    """Output, gradients, and gradients of a gradient. Three channels; the check before use takes two photographs."""
    torch.manual_seed(0)
    x = torch.randn(1, 3, act.input_size, act.input_size).to(device, dtype).requires_grad_()
    scale, bias = ((torch.rand(1, 3) + 0.5).to(device, dtype), torch.randn(3).to(device, dtype))
    scale.requires_grad_(), bias.requires_grad_()
    out = act(x, scale, bias)
    weight = torch.randn(out.shape).to(device, dtype).requires_grad_()
    first = torch.autograd.grad((out * weight).sum(), (x, scale, bias), create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), (weight, scale))
    return [t.detach().double() for t in (out, *first, *second)]


def errors(dtype: torch.dtype, names: Sequence[str], device: str = "cpu") -> dict[str, list[float]]:
    """Relative errors of the kernel; with the check before its use in the first case."""
    found, agrees = {}, filtered_leaky_relu_selection._agrees
    for name in names:
        act, on_gpu = layer(*CASES[name]).to(device), filtered_leaky_relu_selection._on_gpu
        filtered_leaky_relu_selection._on_gpu = lambda x: False
        wanted = results(act, dtype, device)
        filtered_leaky_relu_selection._on_gpu = lambda x: True
        ours = results(act, dtype, device)
        filtered_leaky_relu_selection._on_gpu = on_gpu
        found[name] = [float((a - b).norm() / b.norm()) for a, b in zip(ours, wanted, strict=True)]
        filtered_leaky_relu_selection._agrees = lambda *arguments: True
    filtered_leaky_relu_selection._agrees = agrees
    return found


def correct_bfloat16() -> None:
    """The interpreter multiplies the bits of bfloat16 as integers and truncates: GPUs do neither."""
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    dot, convert = interpreter.InterpreterBuilder.create_dot, interpreter._convert_float

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return dot(self, self.cast_impl(a, tl.float32), self.cast_impl(b, tl.float32), *rest)

    def rounded(values: Any, source: Any, target: Any, mode: Any) -> Any:
        if (source, target) != (tl.float32, tl.bfloat16):
            return convert(values, source, target, mode)
        bits = np.ascontiguousarray(values).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)

    interpreter.InterpreterBuilder.create_dot, interpreter._convert_float = create_dot, rounded


def interpret() -> dict[str, Any]:
    fused, calls = filtered_leaky_relu_triton.fused_filtered_leaky_relu, []
    filtered_leaky_relu_triton.fused_filtered_leaky_relu = lambda *a: calls.append(1) or fused(*a)
    correct_bfloat16()
    found = {"float32": errors(torch.float32, list(CASES)), "bfloat16": errors(torch.bfloat16, list(CASES)[:1])}
    filtered_leaky_relu_selection._on_gpu = lambda x: True
    poisoned = layer(*CASES["same size"])(torch.full((1, 1, 20, 20), torch.nan), torch.ones(1, 1), torch.zeros(1))
    found["nan"] = {"share": float(poisoned.isnan().float().mean())}
    verdicts = list(filtered_leaky_relu_selection._verdicts.values())
    return {
        "errors": found,
        "verdicts": verdicts,
        "calls": len(calls),
        "log": list(filtered_leaky_relu_selection._said),
    }


def on_cuda() -> dict[str, Any]:
    """Errors on a GPU, and how often the kernel ran there."""
    fused, calls = filtered_leaky_relu_triton.fused_filtered_leaky_relu, []
    filtered_leaky_relu_triton.fused_filtered_leaky_relu = lambda *a: calls.append(1) or fused(*a)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    found = {str(dtype): errors(dtype, list(CASES), "cuda") for dtype in (torch.float32, torch.bfloat16)}
    verdicts = list(filtered_leaky_relu_selection._verdicts.values())
    return {
        "errors": found,
        "verdicts": verdicts,
        "calls": len(calls),
        "log": list(filtered_leaky_relu_selection._said),
    }


def compile_for(capabilities: Sequence[int]) -> list[int]:
    """Bytes of shared memory of forward, tangent and adjoint, through the launcher with a driver that has no GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime.driver import driver

    class Driver:
        device = 0  # Triton keeps what it compiled by this number
        get_current_target = classmethod(lambda cls: GPUTarget("cuda", cls.device, 32))
        get_current_device = classmethod(lambda cls: cls.device)
        get_current_stream = staticmethod(lambda device=None: 0)

    class Kernel:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            return lambda *a, **options: shared.append(kernel.warmup(*a, grid=grid, **options).metadata.shared)

    driver.set_active(Driver())
    shared: list[int] = []
    kernel, filtered_leaky_relu_triton._kernel = filtered_leaky_relu_triton._kernel, Kernel()
    act = layer(38, 2, (9, 8), 256.0).bfloat16()
    x, out = (torch.zeros(2, 3, n, n, dtype=torch.bfloat16) for n in (38, 36))
    for Driver.device in capabilities:
        for tangent, adjoint in ((None, False), (x, False), (out, True)):
            fused_filtered_leaky_relu(
                *(tangent, x, x[:, :, 0, 0], x[0, :, 0, 0], act.up_matrix, act.down_matrix),
                *([1.0], act.bands, 0.2, 256.0, adjoint),
            )
    return shared


def run_here(*arguments: str, **environment: str) -> Any:
    command = [sys.executable, "-W", "ignore", __file__, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MRG_TRITON": "1", **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@needs_triton
@pytest.mark.slow
def test_kernel_equals_products_of_matrices() -> None:
    found = run_here("interpret", TRITON_INTERPRET="1")
    assert found["errors"].pop("nan") == {"share": 1.0}  # not hidden by the clamp
    assert found["log"] == []
    assert all(found["verdicts"])
    assert len(found["verdicts"]) == 3 * (len(CASES) + 1)  # forward, tangent and adjoint
    assert found["calls"] > len(found["verdicts"])
    for dtype, limit in (("float32", 1e-6), ("bfloat16", 3e-2)):
        for name, values in found["errors"][dtype].items():
            assert max(values) < limit, (dtype, name, values)


@needs_triton
@pytest.mark.slow
def test_compiles_for_gpus() -> None:
    shared = run_here("compile")
    assert len(shared) == 6
    assert max(shared) < 160 * 1024


def test_windows_of_stylegan3() -> None:
    up, up4, down = (2, 1, 9, 12), (4, 1, -6, 24), (1, 2, 0, 12)
    assert window_sizes(up4, up4, down) == (64, 32, 32)
    down_adjoint, up_adjoint = (2, 1, 11, 12), (1, 4, 29, 24)
    assert window_sizes(up4, down_adjoint, up_adjoint) == (128, 32, 64)
    with pytest.raises(ValueError, match="filters too long"):
        window_sizes(up, up, (1, 2, 0, 120))


def test_wrong_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x, matrix = torch.zeros(1, 1, 1, 1), torch.ones(1, 1)
    arguments = (None, x, matrix, matrix[0], matrix, matrix[None], [1.0, 0.5], [1, 1, 0, 1] * 2, 0.2, 1.0, False)
    monkeypatch.setattr(filtered_leaky_relu_triton, "triton", object())
    with pytest.raises(ValueError, match="one separable filter"):
        fused_filtered_leaky_relu(*arguments)
    monkeypatch.setattr(filtered_leaky_relu_triton, "triton", None)
    with pytest.raises(ImportError, match="Triton is not installed"):
        fused_filtered_leaky_relu(*arguments)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(
        json.dumps({"interpret": interpret, "cuda": on_cuda, "compile": lambda: compile_for((80, 90))}[sys.argv[1]]())
    )
