"""EQ-T and EQ-R of untrained networks, as in section 4 and Appendix E of arXiv:2106.12423, and with broken filters.

PSNR in decibels, for a range of 2, between the image of a moved input and the moved image, away from the borders.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from monai_retina_gen.networks import FilteredLeakyReLU, StyleGAN3

SIZE = 64
SHIFTS = [(5.0, -3.0), (2.3, -3.5), (-1.6, 0.7)]
ANGLES = [0.3, 2.2]


def build(config: str, broken: bool) -> StyleGAN3:
    torch.manual_seed(0)
    network = StyleGAN3(image_size=SIZE, config=config, z_dim=16, w_dim=16, channel_base=1024, channel_max=16).eval()
    for layer in list(network.synthesis.layers)[:-1] if broken else []:
        layer.activation = boxes(layer.plan)  # type: ignore[assignment, arg-type]
    return network


def boxes(plan) -> FilteredLeakyReLU:  # type: ignore[no-untyped-def]
    """The layer's filters replaced by nearest neighbour and 2 x 2 means."""
    up, down = torch.zeros(6 * plan.up), torch.zeros(12)
    up[len(up) // 2 - plan.up // 2 : len(up) // 2 + plan.up // 2] = 1 / plan.up
    down[5:7] = 0.5
    return FilteredLeakyReLU(
        input_size=plan.source.size + plan.kernel_size - 1,
        up_filter=up,
        down_filter=down,
        up=plan.up,
        padding=plan.padding,
    )


def translation(x: float, y: float) -> Tensor:
    return torch.tensor([[1.0, 0.0, -x / SIZE], [0.0, 1.0, -y / SIZE], [0.0, 0.0, 1.0]])


def rotation(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def windowed_sinc(distance: Tensor, radius: float = 8.0) -> Tensor:
    window = torch.special.i0(6 * (1 - (distance / radius).square()).clamp(0).sqrt()) / torch.special.i0(
        torch.tensor(6.0)
    )
    return torch.where(distance.abs() < radius, torch.sinc(distance) * window, 0.0)


def moved(image: Tensor, inverse: Tensor) -> Tensor:
    """The image read at transformed positions, by windowed sinc interpolation."""
    axis = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    at = (torch.stack([x, y, torch.ones_like(x)], dim=-1) @ inverse.T).flatten(0, 1)
    weights = [windowed_sinc((at[:, [i]] + 0.5) * SIZE - 0.5 - torch.arange(SIZE)) for i in (1, 0)]
    return torch.einsum("pi,pj,bcij->bcp", *weights, image).unflatten(-1, (SIZE, SIZE))


@torch.no_grad()
def equivariance(network: StyleGAN3, inverses: list[Tensor], region: Tensor) -> float:
    latent = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    styles = network.styles(network.mapping(latent))
    image = network.synthesize_from_styles(styles)
    errors = [network.synthesize_from_styles(styles, transform=m) - moved(image, m) for m in inverses]
    return float(10 * torch.log10(4 / torch.stack(errors)[..., region].square().mean()))


def eq_t(network: StyleGAN3) -> float:
    region = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    region[14:-14, 14:-14] = True
    return equivariance(network, [translation(*shift) for shift in SHIFTS], region)


def eq_r(network: StyleGAN3) -> float:
    axis = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    return equivariance(network, [rotation(a) for a in ANGLES], axis[:, None].square() + axis.square() < 0.35**2)


def test_interpolation_moves_whole_pixels_exactly() -> None:
    image = torch.randn(1, 1, SIZE, SIZE)
    shifted = moved(image, translation(3, -2))[..., 14:-14, 14:-14]
    torch.testing.assert_close(shifted, image.roll((-2, 3), (2, 3))[..., 14:-14, 14:-14], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("config", ["t", "r"])
def test_translation(config: str) -> None:
    assert eq_t(build(config, broken=False)) > 70
    assert eq_t(build(config, broken=True)) < 50


def test_rotation() -> None:
    assert eq_r(build("r", broken=False)) > 65
    assert eq_r(build("r", broken=True)) < 50
    assert eq_r(build("t", broken=False)) < 50  # its 3x3 kernels have a direction
