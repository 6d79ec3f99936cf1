"""StyleGAN3, T and R, against a second evaluation of the paper's formulas: kernels for each sample, filters evaluated
directly as 2-D functions, zeros inserted, everything in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from monai_retina_gen.networks import StyleGAN3

SIZE, BASE, CAP = 32, 128, 6


def signal(i: int) -> tuple[float, float, int, float, int]:
    """Cutoff, stop band, rate, half width and side of layer i's output."""
    e, nyquist = min(i / 12, 1.0), SIZE / 2
    cutoff = 2 * (nyquist / 2) ** e
    stop = 2**2.1 * (nyquist * 2**0.3 / 2**2.1) ** e
    rate = 2 ** math.ceil(math.log2(min(2 * stop, SIZE)))
    return cutoff, stop, rate, max(stop, rate / 2) - cutoff, SIZE if i >= 13 else rate + 20


def kaiser(taps: int, half_width: float, rate: float) -> Tensor:
    """Kaiser's window for a transition of `2 * half_width`: his formulas for attenuation and beta."""
    attenuation = 2.285 * (taps - 1) * math.pi * 2 * half_width / (rate / 2) + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    else:
        beta = 0.5842 * max(attenuation - 21, 0) ** 0.4 + 0.07886 * max(attenuation - 21, 0)
    x = torch.linspace(-1, 1, taps, dtype=torch.float64)
    return torch.special.i0(beta * (1 - x.square()).sqrt()) / torch.special.i0(torch.tensor(beta, dtype=torch.float64))


def kernel(taps: int, cutoff: float, half_width: float, rate: float, radial: bool) -> Tensor:
    t = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / rate
    window = kaiser(taps, half_width, rate)
    if radial:
        r = torch.sqrt(t[:, None] ** 2 + t**2)
        values = torch.special.bessel_j1(2 * math.pi * cutoff * r) / (math.pi * r)
        values = values * window[:, None] * window
    else:
        line = torch.sinc(2 * cutoff * t) * window
        values = line[:, None] * line
    return values / values.sum()


def linear(x: Tensor, module: nn.Module) -> Tensor:
    return x @ (module.weight.double() / math.sqrt(module.weight.shape[1])).T + module.bias.double()  # type: ignore[operator, union-attr]


def fourier(network: StyleGAN3, w: Tensor) -> Tensor:
    own = network.synthesis.input
    rc, rs, tx, ty = linear(w, own.affine)
    rc, rs, tx, ty = (v / torch.hypot(rc, rs) for v in (rc, rs, tx, ty))
    fx, fy = own.frequencies.double().unbind(1)
    phase = own.phases.double() - tx * (fx * rc + fy * rs) - ty * (fy * rc - fx * rs)
    fx, fy = fx * rc + fy * rs, fy * rc - fx * rs
    u = (torch.arange(36, dtype=torch.float64) + 0.5) / 36 * 36 / 16 - 18 / 16
    waves = torch.sin(2 * math.pi * (fx[:, None, None] * u + fy[:, None, None] * u[:, None] + phase[:, None, None]))
    fade = (1 - (torch.hypot(fx, fy) - 2) / (8 - 2)).clamp(0, 1)
    return torch.einsum("oi,ihw->ohw", own.weight.double() / math.sqrt(len(fx)), waves * fade[:, None, None])


def layer(x: Tensor, own: nn.Module, w: Tensor, i: int, config: str) -> Tensor:
    source, target = signal(max(i - 1, 0)), signal(i)
    style, weight, gain = linear(w, own.affine), own.weight.double(), own.magnitude_ema.double().rsqrt()  # type: ignore[arg-type, union-attr, operator]
    if i == 14:
        y = nn.functional.conv2d(x[None], weight * (style * gain / math.sqrt(len(style)))[:, None, None])
        return (y[0] + own.bias.double()[:, None, None]).clamp(-256, 256)  # type: ignore[union-attr, operator]
    weight = weight * weight.square().mean((1, 2, 3), keepdim=True).rsqrt() * style[:, None, None]
    weight = weight * (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).rsqrt() * gain
    y = nn.functional.conv2d(x[None], weight, padding=weight.shape[-1] - 1)[0] + own.bias.double()[:, None, None]  # type: ignore[union-attr, operator]
    rate = 2 * max(source[2], target[2])
    up, down = rate // source[2], rate // target[2]
    grid = torch.zeros(len(y), y.shape[1] * up, y.shape[1] * up, dtype=torch.float64)
    grid[:, ::up, ::up] = y
    total = (target[4] - 1) * down + 1 - y.shape[1] * up + 6 * up + 6 * down - 2
    low = (total + up) // 2
    grid = nn.functional.pad(grid, (low, total - low) * 2)
    first = kernel(6 * up, source[0], source[3], rate, radial=False) * up**2
    second = kernel(6 * down, target[0], target[3], rate, radial=config == "r" and i < 12)
    middle = nn.functional.conv2d(grid[:, None], first[None, None])
    middle = (nn.functional.leaky_relu(middle, 0.2) * math.sqrt(2)).clamp(-256, 256)
    return nn.functional.conv2d(middle, second[None, None], stride=down)[:, 0]


@pytest.mark.parametrize("config", ["t", "r"])
@torch.no_grad()
def test_equals_the_formulas(config: str) -> None:
    torch.manual_seed(0)
    network = StyleGAN3(image_size=SIZE, config=config, z_dim=8, w_dim=8, channel_base=BASE, channel_max=CAP).eval()
    for name, value in network.state_dict().items():  # biases and averages away from their start
        if name.endswith(("bias", "magnitude_ema")):
            value.add_(torch.rand_like(value) * 0.3)
    w = network.mapping(torch.randn(1, 8))[:, 0]
    ws = (w[:, None] + 0.1 * torch.randn(1, 16, 8)).detach()
    styles, ours = network.styles(ws), None
    x = fourier(network, ws[0, 0].double())
    for i, own in enumerate(network.synthesis.layers):
        ours = network.synthesis.run(styles, start_layer=i, features=ours, stop_layer=i + 1)
        assert float((ours[0].double() - x).norm() / x.norm()) < 2e-5, i
        x = layer(x, own, ws[0, i + 1].double(), i, config)
    image = network.synthesis.run(styles)[0].double()
    assert float((image - x * 0.25).norm() / image.norm()) < 2e-5
