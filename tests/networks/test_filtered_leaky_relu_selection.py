"""When the Triton kernel is used: with the kernel played by a function, so without Triton and without a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from monai_retina_gen.networks import FilteredLeakyReLU, filtered_leaky_relu_selection, filtered_leaky_relu_triton
from monai_retina_gen.networks.filtered_leaky_relu import _by_products
from monai_retina_gen.networks.stylegan3_schedule import design_lowpass

SEPARABLE = design_lowpass(taps=12, cutoff=2.0, width=12.0, sampling_rate=32.0)
RADIAL = design_lowpass(taps=12, cutoff=2.0, width=12.0, sampling_rate=32.0, radial=True)
X, SCALE, BIAS = torch.linspace(-2, 2, 384).view(2, 3, 8, 8), torch.ones(2, 3), torch.zeros(3)


class Kernel:
    """Plays the kernel, by a function of the true result; remembers the shapes of x."""

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        self.answer, self.calls = answer, list[tuple[int, ...]]()

    def __call__(self, *arguments: Any) -> Tensor:
        self.calls.append(tuple(arguments[1].shape))
        return self.answer(_by_products(*arguments))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Tensor], Tensor]], Kernel]:
    """Makes every tensor pass for a GPU's, Triton for installed and the function for its kernel."""
    monkeypatch.setenv("MRG_TRITON", "1")
    monkeypatch.setattr(filtered_leaky_relu_selection, "_on_gpu", lambda x: True)
    monkeypatch.setattr(filtered_leaky_relu_selection, "_triton_installed", lambda: True)
    monkeypatch.setattr(filtered_leaky_relu_selection, "_verdicts", {})
    monkeypatch.setattr(filtered_leaky_relu_selection, "_said", set())

    def install(answer: Callable[[Tensor], Tensor]) -> Kernel:
        kernel = Kernel(answer)
        monkeypatch.setattr(filtered_leaky_relu_triton, "fused_filtered_leaky_relu", kernel)
        return kernel

    return install


def layer(down_filter: Tensor = SEPARABLE) -> FilteredLeakyReLU:
    return FilteredLeakyReLU(input_size=8, up_filter=SEPARABLE, down_filter=down_filter, padding=(9, 8))


def by_products(act: FilteredLeakyReLU, x: Tensor = X, scale: Tensor = SCALE, bias: Tensor = BIAS) -> Tensor:
    up, down = act.up_matrix.to(scale.dtype), act.down_matrix.to(scale.dtype)
    return _by_products(None, x, scale, bias, up, down, act.weights, act.bands, act.slope, act.clamp, False)


def raising(error: Exception) -> Callable[[Tensor], Tensor]:
    def answer(true: Tensor) -> Tensor:
        raise error

    return answer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_checked_once_then_used(use: Any, caplog: pytest.LogCaptureFixture, dtype: torch.dtype) -> None:
    kernel, act = use(lambda true: true * (1 + 1e-6)), layer()
    arguments = X.to(dtype), SCALE.to(dtype), BIAS.to(dtype)
    random = torch.random.get_rng_state()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            torch.testing.assert_close(act(*arguments), by_products(act, *arguments))
    assert len(kernel.calls) == 1 + 3
    assert caplog.records == []
    assert torch.equal(random, torch.random.get_rng_state())


def test_each_use_is_checked(use: Any) -> None:
    kernel, act = use(lambda true: true), layer()
    x, weight = X.clone().requires_grad_(), torch.ones(2, 3, 6, 6, requires_grad=True)
    out = act(x, SCALE, BIAS)
    assert len(kernel.calls) == 2  # the check and the use
    (grad,) = torch.autograd.grad((out * weight).sum(), x, create_graph=True)
    assert len(kernel.calls) == 4
    torch.autograd.grad(grad.square().sum(), weight)
    assert len(kernel.calls) == 6
    assert [key[-1] for key in filtered_leaky_relu_selection._verdicts] == ["forward", "adjoint", "tangent"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda true: true * 1.01, "differs by 1.0e-02 for torch.float32"),
        (lambda true: true * float("nan"), "differs by nan"),
        (lambda true: true[:, :2], "check failed"),
        (raising(RuntimeError("no such device")), r"the Triton kernel failed (RuntimeError: no such device)"),
    ],
    ids=["wrong", "nan", "shape", "error"],
)
def test_failing_kernel_is_never_used(
    use: Any, caplog: pytest.LogCaptureFixture, answer: Callable[[Tensor], Tensor], message: str
) -> None:
    kernel, act = use(answer), layer()
    x = X.clone().requires_grad_()
    for _ in range(3):
        out = act(x, SCALE, BIAS)
        assert torch.equal(out, by_products(act))
        out.sum().backward()
    assert len(kernel.calls) == 2  # one check each of forward and adjoint
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert message in caplog.text


def test_error_after_the_check(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    kernel, act = use(lambda true: true), layer()
    act(X, SCALE, BIAS)
    kernel.answer = raising(RuntimeError("launch failed"))
    for _ in range(3):
        assert torch.equal(act(X, SCALE, BIAS), by_products(act))
    assert len(kernel.calls) == 3
    assert caplog.text.count("launch failed") == 1


def test_out_of_memory_is_not_hidden(use: Any) -> None:
    use(raising(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError, match="full"):
        layer()(X, SCALE, BIAS)


def test_broken_installation(use: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert use is not None  # the true kernel stays
    monkeypatch.setattr(filtered_leaky_relu_triton, "triton", None)
    act = layer()
    for _ in range(2):
        assert torch.equal(act(X, SCALE, BIAS), by_products(act))
    assert caplog.text.count("ImportError: Triton is not installed") == 1


def test_what_the_kernel_does_not_serve(
    use: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = use(lambda true: true)

    def said(act: FilteredLeakyReLU, *arguments: Tensor) -> str:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            torch.testing.assert_close(act(*arguments), by_products(act, *arguments))
            act(*arguments)
        assert [r.levelname for r in caplog.records] == ["INFO"]
        return caplog.text

    assert "separable filters only" in said(layer(RADIAL), X, SCALE, BIAS)
    assert "not torch.float64" in said(layer().double(), X.double(), SCALE.double(), BIAS.double())
    monkeypatch.setattr(filtered_leaky_relu_selection, "_triton_installed", lambda: False)
    assert "Triton is not installed" in said(layer(), X, SCALE, BIAS)
    assert kernel.calls == []


@pytest.mark.parametrize("setting", [None, "0", ""])
def test_off_unless_asked_for(
    use: Any, setting: str | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = use(lambda true: true)
    if setting is None:
        monkeypatch.delenv("MRG_TRITON")
    else:
        monkeypatch.setenv("MRG_TRITON", setting)
    with caplog.at_level(logging.INFO):
        layer()(X, SCALE, BIAS)
    assert "MRG_TRITON=1 asks for it" in caplog.text
    assert kernel.calls == []


def test_silent_without_a_gpu_and_unused_while_tracing(
    use: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, act = use(lambda true: true), layer()
    act.plain = True
    act(X, SCALE, BIAS)
    act.plain = False
    torch.export.export(act, (X, SCALE, BIAS))
    caplog.clear()
    monkeypatch.setattr(filtered_leaky_relu_selection, "_on_gpu", lambda x: x.is_cuda)
    with caplog.at_level(logging.INFO):
        act(X, SCALE, BIAS)
    assert kernel.calls == []
    assert caplog.records == []
