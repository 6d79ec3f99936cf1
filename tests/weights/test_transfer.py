"""Starting from networks of another resolution."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from monai_retina_gen.errors import WeightsError
from monai_retina_gen.networks import DeconvolutionGenerator, ResidualGenerator, StyleDiscriminator, StyleGAN3
from monai_retina_gen.weights import save_state, save_training_state, start_networks, transfer_state


def generator(size: int) -> StyleGAN3:
    return StyleGAN3(image_size=size, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)


def discriminator(size: int) -> StyleDiscriminator:
    return StyleDiscriminator(image_size=size, num_classes=5, channel_base=128, channel_max=8)


def networks(size: int) -> dict[str, nn.Module]:
    return {"generator": generator(size), "discriminator": discriminator(size), "ema": generator(size)}


def test_generator_takes_the_layers_that_fit(caplog: pytest.LogCaptureFixture) -> None:
    small, large = generator(32), generator(64)
    before = {name: value.clone() for name, value in large.state_dict().items()}
    with caplog.at_level(logging.INFO):
        found = transfer_state(large, small.state_dict(), source="small.pt")
    own = small.state_dict()
    for name, value in large.state_dict().items():
        wanted = own[name] if name in found.taken else before[name]
        assert torch.equal(value, wanted), name
        assert (name in found.taken) == (value.shape == own[name].shape)
    assert "latent_mapping.layers.0.weight" in found.taken
    assert "synthesis.layers.13.weight" in found.kept
    assert f"StyleGAN3 from small.pt: {len(found.taken)} tensors taken" in caplog.text
    assert "kept as they were (" in caplog.text


@pytest.mark.parametrize(("source", "target"), [(32, 64), (64, 32)])
def test_discriminator_is_aligned_at_its_coarse_end(source: int, target: int) -> None:
    given, taking = discriminator(source), discriminator(target)
    found = transfer_state(taking, given.state_dict())
    assert torch.equal(taking.blocks[-1].conv0.weight, given.blocks[-1].conv0.weight)  # type: ignore[arg-type, union-attr]
    assert torch.equal(taking.blocks[-2].conv0.weight, given.blocks[-2].conv0.weight)  # type: ignore[arg-type, union-attr]
    assert "out.weight" in found.taken
    assert ("blocks.0.conv0.weight" in found.kept) == (target > source)  # the resolution that is new, or gone


def test_same_network_is_taken_whole() -> None:
    given, taking = discriminator(32), discriminator(32)
    assert transfer_state(taking, given.state_dict()).kept == ()
    assert all(torch.equal(a, b) for a, b in zip(given.parameters(), taking.parameters(), strict=True))


def test_training_starts_from_another_resolution(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = networks(32)
    save_state(small["generator"].state_dict(), tmp_path / "model.pt")
    save_training_state(small, tmp_path / "state.pt")
    large = networks(64)
    start_networks(large, init_weights=str(tmp_path / "model.pt"), partial=True)
    for name in ("generator", "ema"):
        assert torch.equal(large[name].w_avg, small["generator"].w_avg)
        torch.testing.assert_close(
            large[name].state_dict()["synthesis.input.weight"],
            small["generator"].state_dict()["synthesis.input.weight"],
        )
    more = {**networks(64), "encoder": nn.Linear(2, 2)}
    with caplog.at_level(logging.WARNING):
        start_networks(more, init_training=str(tmp_path / "state.pt"), partial=True)
    assert "holds no encoder: it starts anew" in caplog.text
    torch.testing.assert_close(
        more["discriminator"].state_dict()["out.weight"],
        small["discriminator"].state_dict()["out.weight"],
        atol=1e-3,
        rtol=1e-3,
    )
    with pytest.raises(WeightsError, match="does not fit"):
        start_networks(networks(64), init_training=str(tmp_path / "state.pt"))


def test_a_generator_that_the_state_lacks_starts_from_its_average(tmp_path: Path) -> None:
    earlier, later = networks(32), networks(32)
    save_training_state({name: earlier[name] for name in ("discriminator", "ema")}, tmp_path / "state.pt")
    start_networks(later, init_training=str(tmp_path / "state.pt"))
    for key, value in later["generator"].state_dict().items():
        torch.testing.assert_close(value, earlier["ema"].state_dict()[key], atol=1e-3, rtol=1e-3)


def test_nothing_that_fits_is_an_error() -> None:
    with pytest.raises(WeightsError, match=r"other\.pt has nothing that fits StyleGAN3"):
        transfer_state(generator(32), nn.Linear(2, 3).state_dict(), source="other.pt")


def test_equal_states_give_equal_bytes(tmp_path: Path) -> None:
    state = nn.Linear(3, 2).state_dict()
    for name in ("a.pt", "b.pt"):
        save_state(state, tmp_path / name)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_buffers_that_fit_are_no_start() -> None:
    """Of two networks with a table of curated latents, that table alone is alike."""
    network, other = ResidualGenerator(image_size=64, num_classes=0), DeconvolutionGenerator(width=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match="nothing that fits ResidualGenerator"):
        transfer_state(network, {**other.state_dict(), "curated_counts": torch.ones(5)})
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
