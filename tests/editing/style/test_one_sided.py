"""A network that draws left eyes only: everything that is done to a right eye is the mirror image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from monai_retina_gen.editing import Directions, InvertedPhotograph, PhotographCache
from monai_retina_gen.editing.style.encoder_inversion import EncoderInversion
from monai_retina_gen.editing.style.optimisation_inversion import OptimisationInversion
from monai_retina_gen.generators import StyleGAN3Generator
from monai_retina_gen.networks import StyleEncoder, StyleGAN3, pinned_styles
from monai_retina_gen.networks.style_encoder import flipped, mirrored_photographs

SIDE = 32


class Pixels(nn.Module):
    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return (preds - target).square().mean((1, 2, 3))


@pytest.fixture(scope="module")
def network() -> StyleGAN3:
    torch.manual_seed(0)
    made = StyleGAN3(image_size=SIDE, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def encoder() -> StyleEncoder:
    torch.manual_seed(1)
    return StyleEncoder(w_dim=8, channels=(4, 4, 8, 8, 8), pyramid=8, hidden=16)


@pytest.fixture
def inverter(network: StyleGAN3, encoder: StyleEncoder) -> EncoderInversion:
    return EncoderInversion(network, encoder, distance=Pixels(), steps=2, one_sided=True)


@pytest.fixture
def generator(network: StyleGAN3, inverter: EncoderInversion) -> StyleGAN3Generator:
    space = network.style_space
    vector, one = torch.zeros(space.size), torch.ones(space.size)
    vector[space.index(6, 1)] = 20.0
    directions = Directions({"ex": vector}, "sigma", 0.5 * one, one, -50 * one, 50 * one, torch.tensor([0]), {}, {})
    made = StyleGAN3Generator(network, one_sided=True)
    made.equip(inverter=inverter, directions=directions)
    return made


@pytest.fixture(scope="module")
def left(network: StyleGAN3) -> Tensor:
    """Eyes with a trace of the network's mean, a little noisy."""
    mean = network.synthesize_from_styles(pinned_styles(network, network.w_avg.expand(1, network.num_ws, -1)))
    axis = torch.linspace(-1, 1, SIDE)
    inside = ((axis[:, None] ** 2 + axis**2) < 0.9).float()
    noise = 0.02 * torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    colour = torch.tensor([0.6, 0.3, 0.1]).view(3, 1, 1)
    return ((colour + 0.1 * mean + noise) * inside).clamp(0, 1)


def test_the_side_is_seen(network: StyleGAN3, left: Tensor) -> None:
    assert not mirrored_photographs(network, left).any()
    assert mirrored_photographs(network, left.flip(-1)).all()
    mixed = torch.tensor([True, False, True])
    assert torch.equal(mirrored_photographs(network, flipped(left, mixed)), mixed)


@pytest.mark.parametrize("method", ["encoder", "optimisation"])
def test_both_sides_have_the_same_styles(
    method: str, network: StyleGAN3, inverter: EncoderInversion, left: Tensor
) -> None:
    invert: nn.Module = inverter
    if method == "optimisation":
        invert = OptimisationInversion(network, distance=Pixels(), steps=2, one_sided=True)
    grades, mixed = torch.tensor([2, 2, 2]), torch.tensor([False, True, False])
    one, other = invert(left, grades), invert(flipped(left, mixed), grades)
    assert torch.equal(other.mirrored, mixed)
    torch.testing.assert_close(one.styles, other.styles)
    torch.testing.assert_close(one.distance, other.distance)
    torch.testing.assert_close(flipped(one.image, mixed), other.image)


def test_an_edit_of_the_mirror_image_is_the_mirror_image_of_the_edit(
    generator: StyleGAN3Generator, left: Tensor
) -> None:
    photographs = torch.nn.functional.interpolate(left, scale_factor=2.0)
    mixed = torch.tensor([True, False, True])
    plain = generator.edit(photographs, [3, 3, 3], lesion="ex", strength=0.8).image
    assert float((plain - photographs).abs().max()) > 0.01
    mirrored = generator.edit(flipped(photographs, mixed), [3, 3, 3], lesion="ex", strength=0.8).image
    torch.testing.assert_close(mirrored, flipped(plain, mixed), atol=1e-5, rtol=0)
    again = generator.edit(flipped(photographs, mixed), [3, 3, 3], lesion="ex", strength=0.8).image  # from the cache
    torch.testing.assert_close(mirrored, again)


def test_reconstructions_lie_as_the_photographs_do(generator: StyleGAN3Generator, left: Tensor) -> None:
    plain, other = (generator.reconstruct(eyes, [2, 2, 2]).image for eyes in (left, left.flip(-1)))
    torch.testing.assert_close(plain.flip(-1), other)


def test_the_disk_cache_keeps_the_side(inverter: EncoderInversion, left: Tensor, tmp_path: Path) -> None:
    mixed, grades = torch.tensor([True, False, False]), torch.tensor([1, 1, 1])
    for _ in range(2):  # computed, then read
        cache = PhotographCache[InvertedPhotograph](0, folder=tmp_path, kind=InvertedPhotograph)
        found = cache.entries(flipped(left, mixed), grades, lambda x, g: InvertedPhotograph.rows(inverter(x, g)))
        assert [each.mirrored for each in found] == mixed.tolist()


def test_odd_seeds_are_mirrored(generator: StyleGAN3Generator, network: StyleGAN3) -> None:
    plain = StyleGAN3Generator(network)
    both = generator.sample([1, 1], seeds=[4, 5]).image
    drawn = plain.sample([1, 1], seeds=[4, 5]).image
    assert torch.equal(both, flipped(drawn, torch.tensor([False, True])))


def test_the_user_moves_what_the_user_sees(generator: StyleGAN3Generator, network: StyleGAN3) -> None:
    """Turned and moved to the right, for either eye: in the network's own frame the mirror image moves to the left."""
    asked = {"rotate": 20.0, "translate": [0.125, 0.05]}
    made = generator.sample([1, 1], seeds=[4, 5], transform=asked).image
    plain = StyleGAN3Generator(network)
    torch.testing.assert_close(made[:1], plain.sample([1], seeds=[4], transform=asked).image)
    opposite = {"rotate": -20.0, "translate": [-0.125, 0.05]}
    torch.testing.assert_close(made[1:], plain.sample([1], seeds=[5], transform=opposite).image.flip(-1))
