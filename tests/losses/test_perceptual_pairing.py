"""The perceptual term: its gradient reaches generator and encoder, its pairs are the ones it promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_retina_gen.losses import LPIPSDR, PAIRINGS, AdversarialStep, NonSaturatingLoss, PerceptualPairing, RealQueue
from monai_retina_gen.networks import FundusGrader, StyleEncoder, StyleGAN3

SIZE = 32


@pytest.fixture(scope="module")
def distance() -> LPIPSDR:
    torch.manual_seed(0)
    return LPIPSDR(network=FundusGrader(backbone="vgg16", width=0.125, num_classes=2))


def networks() -> tuple[StyleGAN3, StyleEncoder]:
    torch.manual_seed(0)
    generator = StyleGAN3(image_size=SIZE, z_dim=8, w_dim=8, num_classes=5, channel_base=256, channel_max=8)
    return generator, StyleEncoder(w_dim=8, channels=(4, 4, 8, 8, 8), pyramid=8, hidden=16)


def step_of(fake: Tensor, real: Tensor, grade: Tensor | None = None) -> AdversarialStep:
    nothing: Any = None
    condition = {} if grade is None else {"grade": grade}
    return AdversarialStep(real, fake, nothing, nothing, real, fake, nothing, nothing, nothing, nothing, condition)


def squared(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().mean((1, 2, 3))


def gradient(module: nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_gradient_reaches_the_generator_and_would_not_from_a_detached_image(pairing: str, distance: LPIPSDR) -> None:
    generator, encoder = networks()
    term = PerceptualPairing(
        distance=distance, pairing=pairing, generator=generator, encoder=encoder, queue_size=4, image_size=SIZE
    )
    grade = torch.tensor([0, 3])
    real, fake = torch.rand(2, 3, SIZE, SIZE) * 2 - 1, generator(torch.randn(2, 8), grade)
    value = term(step_of(fake, real, grade))
    value.backward()
    assert value > 0
    reached = {name.split(".")[0] for name, p in generator.named_parameters() if p.grad is not None and p.grad.any()}
    assert "synthesis" in reached
    assert ("latent_mapping" in reached) == (pairing != "encoded")  # there the latents are the encoder's
    assert (gradient(encoder) > 0) == (pairing == "encoded")
    assert all(p.grad is None for p in distance.parameters())
    if pairing != "encoded":  # what the authors' released code does
        assert not term(step_of(fake.detach(), real, grade)).requires_grad


def test_the_term_draws_images_together() -> None:
    """One step of Newton's method on the images themselves makes them the real ones."""
    fake, real = torch.zeros(2, 3, 8, 8, requires_grad=True), torch.rand(2, 3, 8, 8)
    (change,) = torch.autograd.grad(PerceptualPairing(distance=squared, weight=1.0)(step_of(fake, real)), fake)
    curvature = 0.5 / real.numel()  # of the mean of ((fake - real) / 2) ** 2
    torch.testing.assert_close(fake - change / curvature, real)


def test_weights_are_those_of_equation_1() -> None:
    """`0.6 * LPIPS_DR + 0.4 * GAN`."""
    fake, real, scores = torch.ones(2, 3, 4, 4), -torch.ones(2, 3, 4, 4), torch.zeros(2)
    term, plain = PerceptualPairing(distance=squared, weight=0.6), NonSaturatingLoss().generator(scores)
    total = term(step_of(fake, real)) + NonSaturatingLoss(generator_weight=0.4).generator(scores)
    torch.testing.assert_close(total, 0.6 * torch.tensor(1.0) + 0.4 * plain)


def test_diversity_is_logged_at_its_interval() -> None:
    term = PerceptualPairing(distance=squared, diversity_interval=2)
    fake = torch.stack([torch.full((3, 4, 4), v) for v in (-1.0, 0.0)])
    seen = []
    for _ in range(3):
        term(step_of(fake, 2 * fake + 1))
        seen.append({name: round(float(value), 4) for name, value in term.logs.items()})
    assert seen == [{"diversity": 0.25, "diversity_real": 1.0}, {}, {"diversity": 0.25, "diversity_real": 1.0}]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 2**31))
def test_nearest_is_that_of_a_plain_search(size: int, batches: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    queue, kept = RealQueue(size=size, image_size=16), []
    for count in batches:
        images = torch.rand(count, 3, 16, 16, generator=generator) * 2 - 1
        grades = torch.randint(0, 2, (count,), generator=generator)
        queue.push(images, grades)
        kept = [*kept, *zip(images, grades.tolist(), strict=True)][-size:]
    query = torch.rand(2, 3, 16, 16, generator=generator) * 2 - 1
    found = queue.nearest(query, torch.tensor([0, 1]))
    for grade in (0, 1):
        allowed = [image for image, own in kept if own == grade] or [image for image, _ in kept]
        wanted = min(allowed, key=lambda image: float((image - query[grade]).square().sum()))
        torch.testing.assert_close(found[grade], wanted, atol=1 / 127, rtol=0)


def test_state_holds_the_queue_and_not_the_others(distance: LPIPSDR) -> None:
    generator, encoder = networks()
    kept = PerceptualPairing(distance=distance, pairing="nearest", queue_size=3, image_size=SIZE)
    kept(step_of(torch.zeros(2, 3, SIZE, SIZE), torch.rand(2, 3, SIZE, SIZE)))
    assert {name.split(".")[0] for name in kept.state_dict()} == {"queue"}
    other = PerceptualPairing(distance=distance, pairing="nearest", queue_size=3, image_size=SIZE)
    other.load_state_dict(kept.state_dict())
    step = step_of(torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 3, SIZE, SIZE))
    assert torch.equal(kept(step), other(step))
    encoded = PerceptualPairing(distance=distance, pairing="encoded", generator=generator, encoder=encoder)
    assert {name.split(".")[0] for name in encoded.state_dict()} == {"encoder"}
    assert {id(p) for p in encoded.parameters()} == {id(p) for p in encoder.parameters()}


def test_images_outside_the_range_are_compared_all_the_same(distance: LPIPSDR) -> None:
    """An untrained generator overshoots."""
    fake = torch.full((2, 3, SIZE, SIZE), 5.0)
    assert PerceptualPairing(distance=distance)(step_of(fake, torch.zeros_like(fake))).isfinite()


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="pairing must be one of random, nearest, encoded, got 'closest'"):
        PerceptualPairing(distance=squared, pairing="closest")
    with pytest.raises(ValueError, match="give generator and encoder"):
        PerceptualPairing(distance=squared, pairing="encoded")
    with pytest.raises(ValueError, match="size of the queue must be at least 1, got 0"):
        RealQueue(size=0)


def test_encoder_starts_near_the_mean_latent_and_learns_to_invert() -> None:
    generator, encoder = networks()
    generator.eval().requires_grad_(False)
    mean = torch.full((8,), 0.5)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    assert (encoder(image, mean) - mean).abs().mean() < 0.2
    with torch.no_grad():
        real = generator(torch.randn(4, 8), torch.tensor([0, 1, 2, 3]))
    optimizer, losses = torch.optim.Adam(encoder.parameters(), 1e-2), []
    for _ in range(12):
        loss = squared(generator.synthesis(encoder(real, generator.w_avg)), real).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    with pytest.raises(ValueError, match="multiples of 32"):
        encoder(torch.zeros(1, 3, 33, 33), mean)
