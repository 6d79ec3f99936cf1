"""Wasserstein losses and penalties against closed forms and finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_retina_gen.engines import AlternatingTrainer, PrepareAdversarialBatch
from monai_retina_gen.losses import (
    AdversarialStep,
    GradientPenalty,
    NonSaturatingLoss,
    R1Penalty,
    WassersteinLoss,
    WeightClipping,
)
from monai_retina_gen.losses.penalties import Penalty


def _step(score: Any, real: Tensor, fake: Tensor, mix: Tensor, augment: Any = lambda x: x) -> AdversarialStep:
    return AdversarialStep(
        real=real,
        fake=fake,
        score=score,
        augment=augment,
        seen_real=augment(real),
        seen_fake=augment(fake),
        real_scores=None,
        fake_scores=None,
        mix=mix,
        latent=fake,
    )


def test_wasserstein_loss_is_the_difference_of_means() -> None:
    """Point masses at 0 and at d: the critic f(x) = x attains the Wasserstein distance d (Kantorovich, Rubinstein)."""
    real, fake = torch.full((5,), 3.0), torch.full((7,), 0.5)
    assert WassersteinLoss().discriminator(real, fake).item() == pytest.approx(-2.5)
    assert WassersteinLoss().generator(fake).item() == pytest.approx(-0.5)


def test_non_saturating_loss_is_binary_cross_entropy() -> None:
    real, fake = torch.randn(6), torch.randn(6)
    bce = nn.functional.binary_cross_entropy_with_logits
    expected = bce(real, torch.ones(6)) + bce(fake, torch.zeros(6))
    torch.testing.assert_close(NonSaturatingLoss().discriminator(real, fake), expected)
    torch.testing.assert_close(NonSaturatingLoss().generator(fake), bce(fake, torch.ones(6)))


@pytest.mark.parametrize("weight", [1.0, 10.0])
def test_gradient_penalty_of_a_quadratic_critic(weight: float) -> None:
    """D(x) = |x|^2 / 2 has gradient x: the penalty is the mean of (|x_hat| - 1)^2."""
    real, fake, mix = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2), torch.rand(4)
    between = mix[:, None, None, None] * real + (1 - mix[:, None, None, None]) * fake
    expected = weight * ((between.flatten(1).norm(dim=1) - 1) ** 2).mean()
    step = _step(lambda x: x.square().sum(dim=(1, 2, 3)) / 2, real, fake, mix)
    torch.testing.assert_close(GradientPenalty(weight=weight).loss(step), expected)
    printed = weight * ((fake.flatten(1).norm(dim=1) - 1) ** 2).mean()
    torch.testing.assert_close(GradientPenalty(weight=weight, between="as_printed").loss(step), printed)


def test_r1_of_a_quadratic_critic_and_its_place_before_augmentation() -> None:
    real, mix = torch.randn(4, 3, 2, 2), torch.rand(4)

    def quadratic(x: Tensor) -> Tensor:
        return x.square().sum(dim=(1, 2, 3)) / 2

    expected = 0.5 * 2.0 * real.square().sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(R1Penalty(gamma=2.0).loss(_step(quadratic, real, real, mix)), expected)
    halved = _step(quadratic, real, real, mix, augment=lambda x: x / 2)  # d/dx |x/2|^2/2 = x/4
    torch.testing.assert_close(R1Penalty(gamma=2.0).loss(halved), expected / 16)


@pytest.mark.parametrize("penalty", [GradientPenalty(weight=3.0), R1Penalty(gamma=3.0)])
def test_gradients_of_penalties_by_finite_differences(penalty: Penalty, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(16, 1)).double()
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # the penalties compute in float32: too coarse for this
    real, fake, mix = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 3, 4, 4).double(), torch.rand(2).double()
    step, weight = _step(critic, real, fake, mix), critic[0].weight
    value = penalty.loss(step)
    (gradient,) = torch.autograd.grad(value, weight)
    with torch.no_grad():
        for index in [(0, 0, 0, 0), (1, 2, 1, 1), (3, 1, 2, 0)]:
            values = []
            for sign in (1, -1):
                weight[index] += sign * 1e-6
                with torch.enable_grad():
                    values.append(penalty.loss(step).item())
                weight[index] -= sign * 1e-6
            assert gradient[index].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_penalties_stay_in_float32_inside_autocast() -> None:
    critic = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    real, mix = torch.randn(4, 3, 2, 2), torch.rand(4)
    step = _step(lambda x: critic(x).squeeze(1), real, -real, mix)
    outside = GradientPenalty().loss(step)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = GradientPenalty().loss(step)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="interval of penalty 'x'"):
        Penalty(name="x", interval=0)
    with pytest.raises(ValueError, match="'critic'"):
        Penalty(name="x", network="critic")
    with pytest.raises(ValueError, match="'elsewhere'"):
        GradientPenalty(between="elsewhere")
    with pytest.raises(ValueError, match="limit must be positive"):
        WeightClipping(limit=0)


def _two_modes(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Points near -0.6 and +0.6, one half each, as images of one pixel."""
    side = torch.randint(0, 2, (count, 1), generator=generator) * 1.2 - 0.6
    return (side + 0.05 * torch.randn(count, 1, generator=generator)).view(-1, 1, 1, 1)


class _PixelGenerator(nn.Sequential):
    latent_dim, latent_distribution = 2, "normal"

    def forward(self, latent: Tensor) -> Tensor:
        return super().forward(latent).view(-1, 1, 1, 1)


class _PixelCritic(nn.Sequential):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.flatten(1)).squeeze(1)


def _layers(inputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("penalty", "optimizer"),
    [
        (WeightClipping(limit=0.1), lambda p: torch.optim.RMSprop(p, 1e-3)),
        (GradientPenalty(weight=0.1), lambda p: torch.optim.Adam(p, 2e-3, betas=(0.0, 0.9))),
    ],
)
def test_both_wasserstein_systems_learn_two_modes(penalty: Penalty, optimizer: Any) -> None:
    """Each mode gets about its half, and little lies between them: no collapse."""
    torch.manual_seed(1)
    generator, critic = _PixelGenerator(*_layers(2)), _PixelCritic(*_layers(1))
    source = torch.Generator().manual_seed(0)
    AlternatingTrainer(
        device="cpu",
        max_epochs=15,
        train_data_loader=[{"image": (_two_modes(64, source) + 1) / 2} for _ in range(100)],
        generator=generator,
        discriminator=critic,
        g_optimizer=optimizer(generator.parameters()),
        d_optimizer=optimizer(critic.parameters()),
        loss=WassersteinLoss(),
        n_critic=5,
        penalties=[penalty],
        prepare_batch=PrepareAdversarialBatch(condition_keys=()),
    ).run()
    with torch.no_grad():
        made = generator(torch.randn(2000, 2, generator=torch.Generator().manual_seed(2))).flatten()
    left, right = (made < -0.4).float().mean().item(), (made > 0.4).float().mean().item()
    assert min(left, right) > 0.3
    assert left + right > 0.8
