"""Inversion: known latents are found again, photographs do not disturb each other, and the cache is honest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_retina_gen.editing import Inversion, Inverter
from monai_retina_gen.editing.style.encoder_inversion import EncoderInversion
from monai_retina_gen.editing.style.inversion import InversionError, StyleParameters
from monai_retina_gen.editing.style.optimisation_inversion import OptimisationInversion, projector_noise, projector_rate
from monai_retina_gen.errors import ImageValueError
from monai_retina_gen.losses import LPIPSDR
from monai_retina_gen.networks import FundusGrader, StyleEncoder, StyleGAN3, latent_statistics, pinned_styles
from monai_retina_gen.networks.style_encoder import flipped

SIDE = 32


class Pixels(nn.Module):
    """A distance with a closed form: the mean absolute error."""

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return (preds - target).abs().mean((1, 2, 3))


@pytest.fixture(scope="module")
def network() -> StyleGAN3:
    torch.manual_seed(0)
    made = StyleGAN3(image_size=SIDE, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8).eval()
    with torch.no_grad():
        made.w_avg.copy_(made.mapping(torch.randn(200, 8), torch.arange(200) % 5)[:, 0].mean(0))
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def encoder() -> StyleEncoder:
    torch.manual_seed(1)
    return StyleEncoder(w_dim=8, channels=(4, 4, 8, 16, 16), pyramid=8, hidden=16).eval()


@pytest.fixture(scope="module")
def eyes(network: StyleGAN3) -> Tensor:
    """Images whose latents exist, with the pose held as inversions hold it."""
    ws = network.mapping(torch.randn(3, 8, generator=torch.Generator().manual_seed(5)), torch.tensor([0, 2, 4]))
    with torch.no_grad():
        made = network.synthesize_from_styles(pinned_styles(network, ws))
    return ((made + 1) / 2).clamp(0, 1)


GRADES = torch.tensor([0, 2, 4])


def test_statistics_are_those_of_the_samples(network: StyleGAN3) -> None:
    means, spread, sigma = latent_statistics(network, samples=500)
    assert means.shape == (5, 8)
    z = torch.randn(500, 8, generator=torch.Generator().manual_seed(123))
    for grade in range(5):
        w = network.mapping(z, torch.full((500,), grade))[:, 0]
        torch.testing.assert_close(means[grade], w.mean(0))
    assert spread > 0
    assert sigma.shape == (network.style_space.size,)
    assert sigma[4:].min() > 0


def test_pose_is_held(network: StyleGAN3) -> None:
    with torch.no_grad():
        network.synthesis.input.affine.weight.normal_(generator=torch.Generator().manual_seed(0))  # poses that differ
    try:
        ws = network.mapping(torch.randn(4, 8), torch.zeros(4, dtype=torch.long))
        pinned, free = pinned_styles(network, ws), network.styles(ws)
        assert pinned[0].unique(dim=0).shape[0] == 1
        assert free[0].unique(dim=0).shape[0] == 4
        assert all(torch.equal(a, b) for a, b in zip(pinned[1:], free[1:], strict=True))
        start = StyleParameters(network, ws, torch.ones(network.style_space.size), torch.ones(4, 124))
        moved, still = start.styles(), network.style_space.flatten(pinned)
        assert torch.equal(moved[:, :4], still[:, :4])
        torch.testing.assert_close(moved[:, 4:], still[:, 4:] + 1)
    finally:
        with torch.no_grad():
            network.synthesis.input.affine.weight.zero_()


def test_error_is_its_formula(eyes: Tensor) -> None:
    error = InversionError(Pixels(), pixel_weight=2.0, perceptual_weight=0.5)
    made = eyes * 2 - 1 + 0.2
    torch.testing.assert_close(error(made, eyes), torch.full((3,), 2 * 0.04 + 0.5 * 0.1))


@pytest.mark.parametrize("space", ["w", "w+", "s"])
def test_optimisation_comes_closer(network: StyleGAN3, eyes: Tensor, space: str) -> None:
    few, many = (OptimisationInversion(network, distance=Pixels(), space=space, steps=n)(eyes, GRADES) for n in (2, 30))
    assert (many.distance < few.distance).all()
    assert many.distance.mean() < 0.7 * few.distance.mean()
    with torch.no_grad():  # the styles are those of the image
        again = network.synthesize_from_styles(network.style_space.split(many.styles))
    torch.testing.assert_close(((again + 1) / 2).clamp(0, 1), many.image)
    torch.testing.assert_close(Pixels()(many.image, eyes), many.distance)


def test_refinement_only_improves_on_the_encoder(network: StyleGAN3, encoder: StyleEncoder, eyes: Tensor) -> None:
    runs = [
        EncoderInversion(network, encoder, distance=Pixels(), steps=n, learning_rate=0.1)(eyes, GRADES)
        for n in (0, 3, 20)
    ]
    first = (network.synthesize_from_styles(pinned_styles(network, encoder(eyes * 2 - 1, network.w_avg))) + 1) / 2
    torch.testing.assert_close(runs[0].image, first.clamp(0, 1))
    assert (runs[1].distance <= runs[0].distance).all()
    assert runs[2].distance.mean() < 0.8 * runs[0].distance.mean()
    assert isinstance(EncoderInversion(network, encoder, distance=Pixels()), Inverter)


def test_a_start_in_w_has_one_latent(network: StyleGAN3, encoder: StyleEncoder, eyes: Tensor) -> None:
    found = EncoderInversion(network, encoder, distance=Pixels(), steps=0, start="w")(eyes, GRADES)
    with torch.no_grad():
        ws = encoder(eyes * 2 - 1, network.w_avg).mean(1, keepdim=True).expand(-1, network.num_ws, -1)
        wanted = network.style_space.flatten(pinned_styles(network, ws))
    torch.testing.assert_close(found.styles, wanted)


@pytest.mark.parametrize("kind", ["encoder", "optimisation"])
def test_photographs_do_not_disturb_each_other(
    network: StyleGAN3, encoder: StyleEncoder, eyes: Tensor, kind: str
) -> None:
    def made(images: Tensor, grades: Tensor) -> Inversion:
        if kind == "encoder":
            return EncoderInversion(network, encoder, distance=Pixels(), steps=4, batch_size=2)(images, grades)
        return OptimisationInversion(network, distance=Pixels(), steps=4, batch_size=2)(images, grades)

    together, alone = made(eyes, GRADES), made(eyes[1:2], GRADES[1:2])
    torch.testing.assert_close(together.styles[1:2], alone.styles, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(together.distance[1:2], alone.distance, atol=1e-4, rtol=1e-3)


def test_works_where_gradients_are_off(network: StyleGAN3, encoder: StyleEncoder, eyes: Tensor) -> None:
    invert = EncoderInversion(network, encoder, distance=Pixels(), steps=3)
    usual = invert(eyes, GRADES)
    with torch.no_grad():
        torch.testing.assert_close(invert(eyes, GRADES).styles, usual.styles)
    with torch.inference_mode():
        torch.testing.assert_close(invert(eyes.clone(), GRADES).styles.clone(), usual.styles)
    assert not usual.styles.requires_grad
    assert not usual.image.requires_grad


@given(st.integers(20, 2000))
def test_schedule_of_the_projector(steps: int) -> None:
    rates = [projector_rate(i, steps) for i in range(steps)]
    assert max(rates) <= 0.1
    assert rates[0] == 0
    assert rates[steps // 2] == pytest.approx(0.1)
    noise = [projector_noise(i, steps) for i in range(steps)]
    assert noise == sorted(noise, reverse=True)
    assert noise[0] == 0.05
    assert noise[-1] == 0


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.rand(1, 3, 16, 16), r"wanted \(B, 3, 32, 32\)"),
        (torch.rand(2, 3, SIDE, SIDE), "1 grades came"),
        (torch.full((1, 3, SIDE, SIDE), 2.0), "finite and in"),
        (torch.full((1, 3, SIDE, SIDE), float("nan")), "finite and in"),
    ],
)
def test_bad_photographs(network: StyleGAN3, encoder: StyleEncoder, images: Tensor, match: str) -> None:
    with pytest.raises(ImageValueError, match=match):
        EncoderInversion(network, encoder, distance=Pixels())(images, torch.tensor([1]))


def test_bad_settings(network: StyleGAN3, encoder: StyleEncoder) -> None:
    with pytest.raises(ValueError, match=r"w\+ or s"):
        EncoderInversion(network, encoder, distance=Pixels(), space="w")
    with pytest.raises(ValueError, match="one of w"):
        OptimisationInversion(network, distance=Pixels(), space="z")
    with pytest.raises(ValueError, match="positive"):
        OptimisationInversion(network, distance=Pixels(), steps=0)


def test_refinement_draws_each_step_once_and_looks_at_the_photograph_once(
    network: StyleGAN3, encoder: StyleEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    grader = FundusGrader(backbone="vgg16", width=0.125, num_classes=2)
    invert = EncoderInversion(network, encoder, distance=LPIPSDR(network=grader), steps=3, one_sided=True)
    drawn, looked = [], []
    whole, features = network.synthesis.run, grader.features_at

    def run(styles: list[Tensor], **options: Any) -> Tensor:
        drawn.append(len(styles[0]))
        return whole(styles, **options)

    def features_at(image: Tensor, layers: list[str]) -> dict[str, Tensor]:
        looked.append(len(image))
        return features(image, layers)

    monkeypatch.setattr(network.synthesis, "run", run)
    monkeypatch.setattr(grader, "features_at", features_at)
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found = invert(images, torch.tensor([1, 2]))
    assert drawn == [2] * 4  # at the start and after each step
    assert looked == [2] * 6  # the photographs, each image, and the best of them
    again = network.synthesize_from_styles(network.style_space.split(found.styles))
    wanted = flipped(((again + 1) / 2).clamp(0, 1), found.mirrored)
    torch.testing.assert_close(found.image, wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        found.distance, LPIPSDR(network=grader)(flipped(wanted, found.mirrored), flipped(images, found.mirrored))
    )
