"""FilteredLeakyReLU against direct convolution and dense matrices; its derivatives; compilation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import upfirdn
from torch import Tensor, nn

from monai_retina_gen.networks import FilteredLeakyReLU, banded_resampling
from monai_retina_gen.networks.banded_resampling import band_blocks, resampling_matrix, separable_terms, transposed
from monai_retina_gen.networks.stylegan3_schedule import design_lowpass

SEPARABLE = design_lowpass(taps=12, cutoff=2.0, width=12.0, sampling_rate=32.0)
RADIAL = design_lowpass(taps=12, cutoff=2.0, width=12.0, sampling_rate=32.0, radial=True)


def direct(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    up: Tensor,
    down: Tensor,
    factor: int,
    padding: tuple[int, int],
    clamp: float,
) -> Tensor:
    """The same with zeros inserted and the 2-D filters evaluated directly."""
    x = x * scale[:, :, None, None] + bias[:, None, None]
    batch, channels, size, _ = x.shape
    grid = x.new_zeros(batch * channels, 1, size * factor, size * factor)
    grid[:, 0, ::factor, ::factor] = x.flatten(0, 1)
    grid = nn.functional.pad(grid, [*padding, *padding])
    middle = nn.functional.conv2d(grid, torch.outer(up, up)[None, None] * factor**2)
    middle = (nn.functional.leaky_relu(middle, 0.2) * 2**0.5).clamp(-clamp, clamp)
    kernel = down if down.ndim == 2 else torch.outer(down, down)
    return nn.functional.conv2d(middle, kernel[None, None], stride=2).unflatten(0, (batch, channels)).squeeze(2)


def inputs(size: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(size)
    x, bias = torch.randn(2, 3, size, size, dtype=dtype), torch.randn(3, dtype=dtype)
    return x.requires_grad_(), (torch.rand(2, 3, dtype=dtype) + 0.5).requires_grad_(), bias.requires_grad_()


@given(
    size=st.integers(1, 12),
    taps=st.integers(1, 7),
    up=st.integers(1, 4),
    down=st.integers(1, 3),
    low=st.integers(-4, 8),
    high=st.integers(-4, 8),
)
@settings(max_examples=40, deadline=None)
def test_resampling_matrix_equals_scipy(size: int, taps: int, up: int, down: int, low: int, high: int) -> None:
    length = size * up + low + high - taps
    if length < 0:
        with pytest.raises(ValueError, match="too short"):
            resampling_matrix(size, torch.ones(taps), up=up, down=down, padding=(low, high))
        return
    generator = torch.Generator().manual_seed(taps)
    signal, kernel = (torch.rand(n, generator=generator, dtype=torch.float64) for n in (size, taps))
    matrix = resampling_matrix(size, kernel, up=up, down=down, padding=(low, high))
    grid = torch.zeros(size * up, dtype=torch.float64)
    grid[::up] = signal
    padded = nn.functional.pad(grid, (max(low, 0), max(high, 0)))
    padded = padded[max(-low, 0) : len(padded) - max(-high, 0)]
    expected = torch.as_tensor(upfirdn(kernel.numpy(), padded.numpy()))[taps - 1 : len(padded)][::down]
    torch.testing.assert_close(matrix @ signal, expected)
    banding = (up, down, low, taps)
    for dense, band in ((matrix, banding), (matrix.T, transposed(banding))):
        covered = torch.zeros_like(dense)
        for r0, r1, c0, c1 in band_blocks(dense.shape[0], dense.shape[1], band, 3):
            covered[r0:r1, c0:c1] = dense[r0:r1, c0:c1]
        assert torch.equal(covered, dense)


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize(("size", "factor", "padding"), [(12, 2, (9, 8)), (16, 4, (-2, -5)), (30, 2, (-11, -12))])
def test_equals_direct_evaluation(radial: bool, size: int, factor: int, padding: tuple[int, int]) -> None:
    up = design_lowpass(taps=6 * factor, cutoff=2.0, width=12.0, sampling_rate=16.0 * factor)
    down = RADIAL if radial else SEPARABLE
    act = FilteredLeakyReLU(
        input_size=size, up_filter=up, down_filter=down, up=factor, padding=padding, clamp=1.5
    ).double()
    x, scale, bias = inputs(size)
    expected = direct(x, scale, bias, up, down, factor, padding, 1.5)
    for act.plain in (False, True):
        found = act(x, scale, bias)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)  # float32 filters, rank cut at 1e-6
        for ours, theirs in zip(
            torch.autograd.grad(found.square().sum(), (x, scale, bias)),
            torch.autograd.grad(expected.square().sum(), (x, scale, bias), retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("down_filter", [SEPARABLE, RADIAL], ids=["separable", "radial"])
def test_first_and_second_derivatives(down_filter: Tensor) -> None:
    act = FilteredLeakyReLU(input_size=4, up_filter=SEPARABLE, down_filter=down_filter, padding=(9, 8), clamp=1.0)
    x, scale, bias = inputs(4)
    assert torch.autograd.gradcheck(act.double(), (x, scale, bias))
    assert torch.autograd.gradgradcheck(act, (x, scale, bias))


def test_clamped_elements_have_no_gradient() -> None:
    act = FilteredLeakyReLU(input_size=8, up_filter=SEPARABLE, down_filter=SEPARABLE, padding=(9, 8), clamp=1e-3)
    x = torch.full((1, 1, 8, 8), 5.0, requires_grad=True)
    act(x, torch.ones(1, 1), torch.zeros(1)).sum().backward()
    assert float(x.grad[0, 0, 3:5, 3:5].abs().max()) < 1e-6  # type: ignore[index]
    assert float(act(x.detach(), torch.ones(1, 1), torch.zeros(1)).max()) < 1.2e-3


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    act = FilteredLeakyReLU(input_size=8, up_filter=SEPARABLE, down_filter=RADIAL, padding=(9, 8)).double()
    x, scale, bias = inputs(8)
    whole = act(x, scale, bias)
    whole_grad = torch.autograd.grad(whole.sum(), (x, scale, bias))
    monkeypatch.setitem(banded_resampling._CHUNK_ELEMENTS, "cpu", 4 * 23**2)
    parts = act(x, scale, bias)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts.sum(), (x, scale, bias)), whole_grad)


def test_only_the_input_is_kept_for_backward() -> None:
    act = FilteredLeakyReLU(input_size=16, up_filter=SEPARABLE, down_filter=SEPARABLE, padding=(9, 8))
    x, scale, bias = inputs(16, torch.float32)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        act(x, scale, bias)
    matrices = act.up_matrix.numel() + act.down_matrix.numel()
    assert sum(kept) == x.numel() + scale.numel() + bias.numel() + matrices


def test_low_precision_and_mixed_dtypes() -> None:
    act = FilteredLeakyReLU(input_size=16, up_filter=SEPARABLE, down_filter=SEPARABLE, padding=(9, 8))
    x, scale, bias = (t.detach() for t in inputs(16, torch.float32))
    exact = act(x, scale, bias)
    assert act(x.bfloat16(), scale, bias).dtype == torch.float32
    low = act(x.bfloat16(), scale.bfloat16(), bias.bfloat16())
    assert low.dtype == torch.bfloat16
    assert float((low - exact).norm() / exact.norm()) < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("down_filter", [SEPARABLE, RADIAL], ids=["separable", "radial"])
def test_gpu_equals_cpu(down_filter: Tensor) -> None:
    act = FilteredLeakyReLU(input_size=70, up_filter=SEPARABLE, down_filter=down_filter, padding=(9, 8)).double()
    arguments = inputs(70)
    expected = act(*arguments)
    wanted = torch.autograd.grad(expected.square().sum(), arguments)
    on_gpu = tuple(t.detach().cuda().requires_grad_() for t in arguments)
    found = act.cuda()(*on_gpu)
    torch.testing.assert_close(found.cpu(), expected)
    gradients = torch.autograd.grad(found.square().sum(), on_gpu)
    torch.testing.assert_close(tuple(g.cpu() for g in gradients), wanted)


def test_compiles_without_a_break() -> None:
    act = FilteredLeakyReLU(input_size=8, up_filter=SEPARABLE, down_filter=SEPARABLE, padding=(9, 8))
    arguments = inputs(8, torch.float32)
    compiled = torch.compile(act, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), act(*arguments))
    ours, theirs = (torch.autograd.grad(f(*arguments).square().sum(), arguments) for f in (compiled, act))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_plain_path_serves_forward_mode() -> None:
    act = FilteredLeakyReLU(input_size=6, up_filter=SEPARABLE, down_filter=SEPARABLE, padding=(9, 8)).double()
    x, scale, bias = (t.detach() for t in inputs(6))
    act.plain = True
    tangent = torch.randn_like(x)
    _, change = torch.func.jvp(lambda v: act(v, scale, bias), (x,), (tangent,))
    step = 1e-6 * tangent
    torch.testing.assert_close(
        change, (act(x + step, scale, bias) - act(x - step, scale, bias)) / 2e-6, rtol=1e-5, atol=1e-6
    )


def test_radial_filter_is_rebuilt_from_few_terms() -> None:
    filters, weights = separable_terms(RADIAL)
    rebuilt = torch.einsum("r,ri,rj->ij", torch.tensor(weights, dtype=torch.float64), filters, filters)
    assert len(weights) <= 5
    assert float((rebuilt - RADIAL).norm() / RADIAL.norm()) < 1e-6
    with pytest.raises(ValueError, match="must be symmetric"):
        separable_terms(torch.arange(4.0).view(2, 2))


def test_wrong_size_is_named() -> None:
    act = FilteredLeakyReLU(input_size=8, up_filter=SEPARABLE, down_filter=SEPARABLE, padding=(9, 8))
    with pytest.raises(ValueError, match=r"x must be \(B, C, 8, 8\), got \[1, 3, 9, 9\]"):
        act(torch.rand(1, 3, 9, 9), torch.ones(1, 3), torch.zeros(3))
